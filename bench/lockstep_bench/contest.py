"""Runs contestants in turns, A B C A B C, so that all see the same noise of the machine."""

import sys
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Callable, Dict, List, Optional

from .processes import Failed

# A configuration this much slower than the best of its group in the first round is not the best one.
CLEARLY_SLOWER = 0.9


@dataclass
class Sample:
    """One value of one round, and whatever else was seen."""

    value: float
    details: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """`measure` runs it once. Of a `group` only the best counts; all values of a group are rates (more is better)."""

    name: str
    measure: Callable[[], Sample]
    group: Optional[str] = None


@dataclass
class Outcome:
    """What all rounds gave: samples by name, and why a contestant fell out."""

    samples: Dict[str, List[Sample]]
    failures: Dict[str, str]

    def values(self, name):
        return [sample.value for sample in self.samples.get(name, [])]

    def details(self, name, key):
        """A detail of every round."""
        return [sample.details[key] for sample in self.samples.get(name, [])]

    def detail(self, name, key):
        """The median of a detail; None where it was never seen."""
        seen = [sample.details[key] for sample in self.samples.get(name, []) if sample.details.get(key) is not None]
        return median(seen) if seen else None

    def group(self, *names):
        return {name: self.values(name) for name in names if self.values(name)}


def hold(title, contestants, rounds):
    """All contestants once in every round. One that fails takes no further part; the others go on."""
    samples = {contestant.name: [] for contestant in contestants}
    failures = {}
    remaining = list(contestants)
    for number in range(rounds):
        for contestant in list(remaining):
            started = time.monotonic()
            try:
                sample = contestant.measure()
            except Failed as failure:
                failures[contestant.name] = str(failure)
                remaining.remove(contestant)
                say(f"{title}: {contestant.name} failed: {failure}")
                continue
            samples[contestant.name].append(sample)
            took = time.monotonic() - started
            say(f"{title}, round {number + 1} of {rounds}: {contestant.name} {sample.value:.4g} ({took:.0f} s)")
        if number == 0:
            remaining = promising(remaining, {name: taken[0].value for name, taken in samples.items() if taken})
    return Outcome(samples, failures)


def promising(contestants, values):
    """Those without a group, and those of each group that may still be its best."""
    best = {}
    for contestant in contestants:
        if contestant.group:
            best[contestant.group] = max(best.get(contestant.group, 0), values[contestant.name])
    return [
        contestant
        for contestant in contestants
        if not contestant.group or values[contestant.name] >= CLEARLY_SLOWER * best[contestant.group]
    ]


def say(text):
    print(text, file=sys.stderr, flush=True)
