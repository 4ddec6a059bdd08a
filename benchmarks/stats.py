"""The arithmetic behind the table: medians, and how sure they are.

Samples come in rounds; inside a round every contender had its turn, in shuffled order. Rounds, not samples, are drawn
for the bootstrap, and the same rounds for both sides: what slows the machine for a while slows both. An interval that
covers "no difference" is a tie, whatever the medians say.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Rounds = Sequence[Sequence[float]]
"""Seconds, by round."""

DRAWS = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the bounds between which it lies with 95 % confidence."""

    value: float
    low: float
    high: float

    def covers(self, value: float) -> bool:
        return self.low <= value <= self.high


def pooled(rounds: Rounds) -> list[float]:
    return [sample for one in rounds for sample in one]


def median(rounds: Rounds) -> float:
    """Raises statistics.StatisticsError when there is no sample."""
    return statistics.median(pooled(rounds))


def quantile(rounds: Rounds, share: float) -> float:
    """The sample below which `share` of all samples lie (nearest rank)."""
    samples = sorted(pooled(rounds))
    return samples[min(len(samples) - 1, int(share * len(samples)))]


def ratio(subject: Rounds, comparator: Rounds) -> Interval:
    """Median of `subject` ÷ median of `comparator`."""
    return _bootstrap(subject, comparator, lambda one, other: one / other)


def difference(subject: Rounds, comparator: Rounds) -> Interval:
    """Median of `subject` − median of `comparator`, in seconds."""
    return _bootstrap(subject, comparator, lambda one, other: one - other)


def _bootstrap(subject: Rounds, comparator: Rounds, compare: Callable[[float, float], float]) -> Interval:
    if len(subject) != len(comparator):
        raise ValueError(f"{len(subject)} rounds against {len(comparator)}: they were not measured together")
    rng = random.Random(1)  # the same samples give the same table
    count = len(subject)
    drawn = []
    for _ in range(DRAWS):
        chosen = rng.choices(range(count), k=count)
        drawn.append(compare(median([subject[i] for i in chosen]), median([comparator[i] for i in chosen])))
    drawn.sort()
    edge = int(DRAWS * (1 - CONFIDENCE) / 2)
    return Interval(compare(median(subject), median(comparator)), drawn[edge], drawn[-1 - edge])
