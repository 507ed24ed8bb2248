"""Ratios of one run: medians, spreads, and whether a goal is met. Knows no process and no clock."""

from dataclasses import dataclass, field
from statistics import median
from typing import Dict, List, Optional


@dataclass(frozen=True)
class Spread:
    """A median with the least and the greatest value."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values):
        return cls(median(values), min(values), max(values))

    def text(self, form):
        if self.least == self.greatest:
            return f"{self.median:{form}}"
        return f"{self.median:{form}} ({self.least:{form}} to {self.greatest:{form}})"


@dataclass(frozen=True)
class Measure:
    """What values mean. `form` is the format of one value."""

    unit: str
    higher_is_better: bool
    form: str = ".0f"


IMAGES = Measure("images/s", True)
MILLISECONDS = Measure("ms", False, ".2f")
SECONDS = Measure("s", False, ".2f")
MEGABYTES = Measure("MB", False)


@dataclass
class Comparison:
    """One line of the table: ours against the best of the peers, round by round.

    Values of one position were measured in the same round. A peer that has fewer rounds than ours was left out after
    the first as clearly slower than another; such a one is never the best.
    """

    title: str
    measure: Measure
    ours: List[float]
    peers: Dict[str, List[float]]
    goal: Optional[float] = None
    notes: List[str] = field(default_factory=list)

    def best_peer(self):
        """The name of the peer with the best median among those with most rounds; None without peers."""
        rounds = max((len(values) for values in self.peers.values()), default=0)
        complete = {name: median(values) for name, values in self.peers.items() if values and len(values) == rounds}
        if not complete:
            return None
        pick = max if self.measure.higher_is_better else min
        return pick(complete, key=complete.get)

    def ratios(self):
        """How many times better than the best peer, of each round."""
        best = self.best_peer()
        if best is None:
            return []
        pairs = zip(self.ours, self.peers[best])
        if self.measure.higher_is_better:
            return [ours / theirs for ours, theirs in pairs]
        return [theirs / ours for ours, theirs in pairs]

    def verdict(self):
        """`met`, `below`, or nothing where there is no goal or nothing to hold it against."""
        ratios = self.ratios()
        if self.goal is None or not ratios:
            return ""
        # As the table shows it: 1.499 is no miss of 1.5.
        return "met" if round(median(ratios), 2) >= self.goal else "below"
