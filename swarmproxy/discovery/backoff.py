"""Waiting between attempts: doubling, capped and jittered, so that a returning store or engine is not met by a herd."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """Delays in seconds: each between half of and the whole current step; the step doubles up to `cap`."""

    def __init__(self, base: float = 0.05, cap: float = 1.0) -> None:
        self._base = base
        self._cap = cap
        self._step = base

    def reset(self) -> None:
        self._step = self._base

    def next(self) -> float:
        step, self._step = self._step, min(self._cap, self._step * 2)
        return step * (0.5 + random.random() / 2)
