"""One kind of object of one engine, listed again when something happened to it.

Images, volumes and networks are few and their lists cheap, so nothing is kept per object: an event asks for a list, and
a burst of events for one or two. A caller who has just changed something waits for a list that started afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from swarmproxy.model.errors import DockerError

GATHER = 0.05
"""Seconds that an event waits for others of its burst; callers do not wait."""
AGAIN = 2.0
"""Seconds until a failed list is tried again."""


class Relist:
    """Runs `fetch`, one at a time. `fetch` raises DockerError when the engine did not answer."""

    def __init__(self, fetch: Callable[[], Awaitable[None]]) -> None:
        self._fetch = fetch
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []

    def poke(self) -> None:
        """Something happened."""
        self._wake.set()

    async def fresh(self) -> None:
        """Returns when a list that started after this call is in. Raises what `fetch` raised."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake.set()
        self._hurry.set()
        await waiter

    def abandon(self, error: DockerError) -> None:
        """`run` has ended: whoever still waits is told so."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)

    async def run(self) -> None:
        """Serves until cancelled."""
        while True:
            await self._wake.wait()
            if not self._waiters:
                try:
                    async with asyncio.timeout(GATHER):
                        await self._hurry.wait()
                except TimeoutError:
                    pass
            self._wake.clear()
            self._hurry.clear()
            served = len(self._waiters)
            failure: DockerError | None = None
            try:
                await self._fetch()
            except DockerError as error:
                failure = error
                asyncio.get_running_loop().call_later(AGAIN, self._wake.set)
            for waiter in self._serve(served):
                if failure is not None:
                    waiter.set_exception(failure)
                else:
                    waiter.set_result(None)

    def _serve(self, count: int) -> list[asyncio.Future[None]]:
        """Takes the first `count` waiters out; those that still wait."""
        served, self._waiters = self._waiters[:count], self._waiters[count:]
        return [waiter for waiter in served if not waiter.done()]
