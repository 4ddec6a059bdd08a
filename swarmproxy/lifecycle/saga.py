"""Sagas: ordered steps with their undo, and the failpoints that lie between them.

A change that touches the store and an engine cannot be one transaction. It is a list of steps instead; when one fails,
the undo of every finished step runs, newest first, each under a deadline of its own and each whatever became of the one
before. What an undo could not take back is said in the error ("left behind: …") and is what adoption and gc find later.

Every step has a name; `SAGA.STEP.before` and `SAGA.STEP.after` are failpoints: set SWARMPROXY_FAILPOINTS to
`create.claim.after=kill,create.bind.before=error` and the process dies there as by kill -9, or the step fails there.
Cost when none is set: one truth test a step.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self, TypeVar

from swarmproxy.model.errors import DockerError, ServerError

log = logging.getLogger(__name__)

T = TypeVar("T")
UNDO_SECONDS = 10.0

KILL = "kill"
ERROR = "error"


class Failpoints:
    """Named places where a test makes the process die or a step fail. Empty in production."""

    def __init__(self, actions: Mapping[str, str] | None = None) -> None:
        self.actions = dict(actions or {})

    @classmethod
    def from_environment(cls, text: str | None = None) -> Self:
        """Reads `point=kill,point=error`; raises ValueError for another action."""
        text = os.environ.get("SWARMPROXY_FAILPOINTS", "") if text is None else text
        actions: dict[str, str] = {}
        for part in filter(None, (item.strip() for item in text.split(","))):
            point, _, action = part.partition("=")
            if action not in (KILL, ERROR):
                raise ValueError(f"failpoint {part!r}: the action is {KILL} or {ERROR}")
            actions[point] = action
        return cls(actions)

    def hit(self, point: str) -> None:
        if not self.actions:
            return
        action = self.actions.get(point)
        if action == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == ERROR:
            raise ServerError(f"failpoint {point}")


class Saga:
    """`async with Saga("create", failpoints) as saga:` then `await saga.step(...)`, top to bottom as it happens."""

    def __init__(self, name: str, failpoints: Failpoints) -> None:
        self.name = name
        self._failpoints = failpoints
        self._undo: list[tuple[str, Callable[[], Awaitable[object]]]] = []

    async def step(self, name: str, work: Awaitable[T], undo: Callable[[T], Awaitable[object]] | None = None) -> T:
        """Awaits `work`; `undo(result)` runs if a later step fails."""
        try:
            self._failpoints.hit(f"{self.name}.{name}.before")
        except BaseException:
            if asyncio.iscoroutine(work):
                work.close()
            raise
        result = await work
        if undo is not None:
            back = undo
            self._undo.append((name, lambda: back(result)))
        self._failpoints.hit(f"{self.name}.{name}.after")
        return result

    def on_failure(self, name: str, undo: Callable[[], Awaitable[object]]) -> None:
        """An undo for something that a step may have done even though it failed (an answer that was lost)."""
        self._undo.append((name, undo))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        left: list[str] = []
        for name, undo in reversed(self._undo):
            try:
                async with asyncio.timeout(UNDO_SECONDS):
                    await undo()
            except Exception as failure:
                log.warning("saga=%s step=%s undo failed: %s", self.name, name, failure)
                left.append(f"{name}: {failure}")
        if left and isinstance(error, DockerError):
            error.reason = "; ".join(filter(None, (error.reason, "left behind: " + ", ".join(left))))
