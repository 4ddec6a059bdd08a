"""Interleaved rounds: every contender once a round, in an order that changes, so that no one has the quiet minutes."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Sample = Mapping[str, float]
"""Part → seconds; most have one part."""
Samples = dict[str, dict[str, list[list[float]]]]
"""Contender → part → rounds → seconds."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Something to be measured. `once` does it and tells how long its parts took."""

    name: str
    once: Callable[[], Sample]


def measure(
    contenders: list[Contender], *, rounds: int, each: int = 1, lead: int = 0, warm: int = 1, title: str = ""
) -> Samples:
    """Measures all contenders.

    Args:
        each: samples a contender takes in its turn. lead: samples before these that are dropped, every turn.
        warm: whole rounds at the start that are dropped.
    """
    rng = random.Random()
    samples: Samples = {contender.name: {} for contender in contenders}
    for number in range(-warm, rounds):
        order = list(contenders)
        rng.shuffle(order)
        for contender in order:
            for _ in range(lead):
                contender.once()
            turn: dict[str, list[float]] = {}
            for _ in range(each):
                for part, seconds in contender.once().items():
                    turn.setdefault(part, []).append(seconds)
            if number >= 0:
                for part, values in turn.items():
                    samples[contender.name].setdefault(part, []).append(values)
        _progress(title, max(number + 1, 0), rounds)
    return samples


def _progress(title: str, done: int, rounds: int) -> None:
    end = "\n" if done == rounds else ""
    print(f"\r  {title}: round {done} of {rounds} ", end=end, file=sys.stderr, flush=True)
