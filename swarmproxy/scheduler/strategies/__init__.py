"""Strategies, one a module: each gives a node a sort key for a request; the smallest key is the best node.

`spread` and `binpack` are functions of what they see alone, so that two proxies with the same view choose alike.
"""

from __future__ import annotations

import random as randomness
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.request import Request
from swarmproxy.scheduler.strategies import binpack, random, spread

__all__ = ["NAMES", "Strategy", "by_name"]

Score = Callable[[Request, NodeSnapshot], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Strategy:
    name: str
    score: Score


_KINDS: dict[str, Callable[[randomness.Random], Score]] = {
    "spread": lambda rng: spread.score,
    "binpack": lambda rng: binpack.score,
    "random": random.scorer,
}
_ALIASES = {"binpacking": "binpack"}

NAMES = tuple(_KINDS)


def by_name(name: str = "spread", rng: randomness.Random | None = None) -> Strategy:
    """The strategy that `--strategy` names; `rng` serves `random`. Raises ValueError for unknown ones."""
    name = _ALIASES.get(name, name)
    if name not in _KINDS:
        raise ValueError(f"unknown strategy {name!r}: choose from {', '.join(NAMES)}")
    return Strategy(name, _KINDS[name](rng or randomness.Random()))
