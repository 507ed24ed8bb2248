"""A part of the report: what was measured together, and how it compares."""

from dataclasses import dataclass, field
from typing import Dict, List

from .comparison import Comparison


@dataclass
class Table:
    """Figures that are no comparison. Cells are text."""

    headers: List[str]
    rows: List[List[str]]


@dataclass
class Section:
    title: str
    method: str
    comparisons: List[Comparison] = field(default_factory=list)
    tables: List[Table] = field(default_factory=list)
    failures: Dict[str, str] = field(default_factory=dict)
    # What every contestant gave, for the JSON file: name -> [{"value": …, details…}].
    samples: Dict[str, list] = field(default_factory=dict)

    def take(self, outcome):
        """Keeps an outcome's samples and failures; returns the outcome."""
        self.failures.update(outcome.failures)
        for name, samples in outcome.samples.items():
            self.samples[name] = [dict(sample.details, value=sample.value) for sample in samples]
        return outcome

    def compare(self, title, measure, ours, peers, goal=None, notes=()):
        """Adds a comparison; where a side has no value, a failure instead."""
        if not ours or not peers:
            missing = "ours" if not ours else "every peer"
            self.failures[title] = f"nothing to compare: {missing} failed"
            return
        self.comparisons.append(Comparison(title, measure, ours, peers, goal, list(notes)))
