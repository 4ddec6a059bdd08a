"""A store that fails on demand, around any other.

    store = FaultyStore(MemoryStore(...))
    store.unavailable = True                        # every call raises Unavailable, watches end with it
    store.before("txn", fail_once)                  # a hook may raise, or wait
    store.lose("txn")                               # the next transaction is applied, its answer lost

Everything else passes through, so a suite that runs on a store also runs on this one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Literal, TypeVar

from swarmproxy.discovery.store import KV, Batch, Compare, Op, Store, TxnResult, Unavailable

__all__ = ["FaultyStore", "Operation"]

Operation = Literal["get", "list", "txn", "grant", "keepalive", "revoke", "watch"]
Hook = Callable[[], Awaitable[None] | None]
T = TypeVar("T")


class FaultyStore:
    """Implements Store around `inner`."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.delay = 0.0
        """Seconds before every call."""
        self.calls: deque[Operation] = deque(maxlen=10_000)
        self._unavailable = False
        self._cut = asyncio.Event()
        self._hooks: dict[Operation, list[Hook]] = {}
        self._after: dict[Operation, list[Hook]] = {}

    # ------------------------------------------------------------ faults

    @property
    def unavailable(self) -> bool:
        """While true every call raises Unavailable; setting it ends the watches."""
        return self._unavailable

    @unavailable.setter
    def unavailable(self, value: bool) -> None:
        self._unavailable = value
        if value:
            self.drop_watches()

    def drop_watches(self) -> None:
        """Every open watch raises Unavailable."""
        self._cut.set()
        self._cut = asyncio.Event()

    def before(self, operation: Operation, hook: Hook) -> Callable[[], None]:
        """Calls `hook` before each `operation`; what it raises is raised. Returns the function that ends it."""
        return _add(self._hooks.setdefault(operation, []), hook)

    def after(self, operation: Operation, hook: Hook) -> Callable[[], None]:
        """Likewise after the operation was applied, before its answer is given."""
        return _add(self._after.setdefault(operation, []), hook)

    def fail(self, operation: Operation, times: int = 1) -> None:
        """The next `times` of them raise Unavailable and have no effect."""
        self._count(self._hooks, operation, times)

    def lose(self, operation: Operation, times: int = 1) -> None:
        """The next `times` of them are applied and raise Unavailable: the answer is lost."""
        self._count(self._after, operation, times)

    def _count(self, where: dict[Operation, list[Hook]], operation: Operation, times: int) -> None:
        left = times
        hooks = where.setdefault(operation, [])

        def raise_it() -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                hooks.remove(raise_it)
            raise Unavailable("injected")

        hooks.append(raise_it)

    async def _call(self, operation: Operation, work: Callable[[], Awaitable[T]]) -> T:
        self.calls.append(operation)
        if self.delay > 0:
            await asyncio.sleep(self.delay)
        if self._unavailable:
            raise Unavailable("the store is unavailable")
        await _run(self._hooks.get(operation, ()))
        result = await work()
        await _run(self._after.get(operation, ()))
        return result

    # ------------------------------------------------------------ the store

    async def get(self, key: str) -> KV | None:
        return await self._call("get", lambda: self.inner.get(key))

    async def list(self, prefix: str) -> tuple[int, list[KV]]:
        return await self._call("list", lambda: self.inner.list(prefix))

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        return await self._call("txn", lambda: self.inner.txn(compares, ops))

    async def grant(self, ttl: float) -> int:
        return await self._call("grant", lambda: self.inner.grant(ttl))

    async def keepalive(self, lease: int) -> float:
        return await self._call("keepalive", lambda: self.inner.keepalive(lease))

    async def revoke(self, lease: int) -> None:
        await self._call("revoke", lambda: self.inner.revoke(lease))

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Batch]:
        cut = asyncio.ensure_future(self._cut.wait())
        source = self.inner.watch(prefix, after)
        try:
            await self._call("watch", _nothing)
            while True:
                turn = asyncio.ensure_future(anext(source))
                await asyncio.wait((turn, cut), return_when=asyncio.FIRST_COMPLETED)
                if not turn.done():
                    turn.cancel()
                    await asyncio.wait((turn,))
                    raise Unavailable("the watch was cut")
                try:
                    batch = turn.result()
                except StopAsyncIteration:
                    return
                yield batch
                if cut.done():
                    raise Unavailable("the watch was cut")
        finally:
            cut.cancel()
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()

    async def close(self) -> None:
        await self.inner.close()


async def _nothing() -> None:
    return None


async def _run(hooks: Sequence[Hook]) -> None:
    for hook in tuple(hooks):
        waiting = hook()
        if waiting is not None:
            await waiting


def _add(hooks: list[Hook], hook: Hook) -> Callable[[], None]:
    hooks.append(hook)
    return lambda: hooks.remove(hook) if hook in hooks else None
