"""Time for simulated things: the machine's, or one that a test moves by hand.

A `FakeClock` is both clocks at once: calling it gives monotonic seconds (what state machines take as `now`), `time()`
gives Unix seconds (what engines put into events and inspect). Timers run inside `advance`, in the order of their due
times, so a test never sleeps.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "FakeClock", "SystemClock", "Timer"]


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """Unix seconds, and a call after a delay in seconds."""

    def time(self) -> float: ...

    def call_later(self, delay: float, action: Callable[[], None]) -> Timer: ...


class SystemClock:
    """The machine's clock; timers need a running loop."""

    def time(self) -> float:
        return time.time()

    def call_later(self, delay: float, action: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(delay, action)


class _FakeTimer:
    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class FakeClock:
    """Stands still until told.

    Args:
        wall: Unix seconds at the start.
        monotonic: monotonic seconds at the start.
    """

    def __init__(self, wall: float = 1_800_000_000.0, monotonic: float = 1000.0) -> None:
        self._offset = wall - monotonic
        self._now = monotonic
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _FakeTimer]] = []

    def __call__(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def time(self) -> float:
        return self._now + self._offset

    def call_later(self, delay: float, action: Callable[[], None]) -> Timer:
        timer = _FakeTimer(action)
        heapq.heappush(self._timers, (self._now + delay, next(self._order), timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        """Until the clock has been advanced that far."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.call_later(seconds, lambda: None if done.done() else done.set_result(None))
        await done

    def advance(self, seconds: float) -> None:
        """Moves both clocks on and runs what fell due, each at its own instant."""
        until = self._now + seconds
        while self._timers and self._timers[0][0] <= until:
            due, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            if timer.action is not None:
                timer.action()
        self._now = until

    def step(self, seconds: float) -> None:
        """Moves only the wall clock, as NTP or an operator does."""
        self._offset += seconds
