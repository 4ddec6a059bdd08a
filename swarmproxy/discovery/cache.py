"""A copy of the store in memory, kept by one list and one watch of the whole root: one revision, one stream.

Readers pay two bisections. A change is applied whole: all keys of its revision first, then the listeners in order, so a
listener never sees half a transaction. When the stream breaks, the cache goes on from its revision if the gap is small
(replaying 30,000 events takes etcd 3 s, listing 30,000 keys 50 ms) and the store is still the same one (`meta` tells);
otherwise it lists again and hands out the differences, deletions included, as if they had been watched.

The store's silence never removes anything: the copy stays as it is, `lost_since` says since when it may be old.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from swarmproxy.discovery.backoff import Backoff
from swarmproxy.discovery.store import KV, Batch, Compacted, Event, Store, StoreError, Unavailable
from swarmproxy.model import keys

__all__ = ["Cache"]

logger = logging.getLogger(__name__)

GAP = 1000
"""Revisions that are replayed after a break; more are listed."""
IMPATIENCE = 0.25
"""Seconds after which `reached` lists instead of waiting on: the revision may have touched other roots only."""


class Cache:
    """What the store held at `revision`.

    `run` is the only task; it ends by cancellation. Listeners are called synchronously and must not block; what they
    raise is logged.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._data: dict[str, KV] = {}
        self._keys: list[str] = []
        self._listeners: list[tuple[str, Callable[[Event], None]]] = []
        self._state_listeners: list[Callable[[], None]] = []
        self._waiters: set[tuple[int, asyncio.Future[None]]] = set()
        self._listing = asyncio.Lock()
        self._listed = asyncio.Event()
        self._whole = False
        """Whether everything up to `revision` is in, so that a watch may go on from there."""
        self.revision = 0
        self.lost_since: float | None = None
        """time.monotonic() of the first failure, None while the store answers."""
        self.reason = ""
        """Why the store is lost, as it says it; "" while it answers."""

    def get(self, key: str) -> KV | None:
        return self._data.get(key)

    def under(self, prefix: str) -> list[KV]:
        """All keys that begin with `prefix`, ordered."""
        first = bisect.bisect_left(self._keys, prefix)
        last = bisect.bisect_left(self._keys, prefix + "\U0010ffff", first)
        return [self._data[key] for key in self._keys[first:last]]

    def listen(self, prefix: str, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Calls `listener` for every later change under `prefix`, in order; returns its remover.

        The first list counts as changes, too; what is there already when the listener comes does not.
        """
        entry = (prefix, listener)
        self._listeners.append(entry)
        return lambda: _discard(self._listeners, entry)

    def on_state(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls `listener` whenever `lost_since` changes between None and a time; returns its remover."""
        self._state_listeners.append(listener)
        return lambda: _discard(self._state_listeners, listener)

    async def ready(self, timeout: float) -> None:
        """Waits for the first list. Raises Unavailable, with the reason, when it does not come in `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._listed.wait()
        except TimeoutError:
            raise Unavailable(self.reason or f"the store did not answer within {timeout:g} s") from None

    async def reached(self, revision: int, timeout: float = 2.0) -> bool:
        """Waits until everything up to `revision` is in; False when it is not after `timeout` seconds."""
        until = time.monotonic() + timeout
        if await self._wait(revision, min(IMPATIENCE, timeout)):
            return True
        if self.lost_since is None and timeout > IMPATIENCE:
            try:
                async with asyncio.timeout(until - time.monotonic()), self._listing:
                    if self.revision < revision:
                        self._merge(*await self._store.list(""))
            except (TimeoutError, StoreError):
                pass  # `run` finds out for itself
        return await self._wait(revision, max(until - time.monotonic(), 0))

    async def run(self) -> None:
        """Follows the store for ever."""
        backoff = Backoff()
        while True:
            began = time.monotonic()
            try:
                await self._catch_up()
                self._found()
                await self._follow()
                reason = "the watch ended"
            except Compacted:
                reason = ""
                self._whole = False
            except StoreError as error:
                reason = str(error)
            except Exception as error:
                logger.exception("the copy of the store met a fault; it goes on")
                reason = repr(error)
                self._whole = False
            if reason:
                self._lose(reason)
            if time.monotonic() - began > 2.0:
                backoff.reset()
            await asyncio.sleep(backoff.next())

    async def _catch_up(self) -> None:
        if self._whole:
            revision, found = await self._store.list(keys.META)
            known = self.under(keys.META)
            same = _same(found, known) and revision >= self.revision
            if same and revision - self.revision <= GAP:
                return
            if not same and (known or revision < self.revision):
                logger.warning("the store is another one, or was wiped: everything is read anew")
        async with self._listing:
            self._merge(*await self._store.list(""), anew=True)
        self._whole = True
        self._listed.set()

    async def _follow(self) -> None:
        stream: Any = self._store.watch("", self.revision)
        try:
            async for batch in stream:
                self._apply(batch)
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    def _apply(self, batch: Batch) -> None:
        # `reached` may have listed past some of these already.
        events = [event for event in batch.events if event.kv.mod_revision > self.revision]
        for event in events:
            self._set(event)
        self._advance(batch.revision, events)

    def _set(self, event: Event) -> None:
        key = event.kv.key
        if event.kind == "put":
            if key not in self._data:
                bisect.insort(self._keys, key)
            self._data[key] = event.kv
        elif self._data.pop(key, None) is not None:
            del self._keys[bisect.bisect_left(self._keys, key)]

    def _merge(self, revision: int, found: Sequence[KV], *, anew: bool = False) -> None:
        """Takes over a list; hands out how it differs. `anew`: even one that is older than the copy."""
        if revision <= self.revision and not anew:
            return
        data = {kv.key: kv for kv in found}
        events = [Event("delete", KV(key, b"", 0, revision)) for key in self._keys if key not in data]
        changed = [kv for kv in found if self._data.get(kv.key) != kv]
        events += [Event("put", kv) for kv in sorted(changed, key=lambda kv: kv.mod_revision)]
        self._data, self._keys = data, sorted(data)
        self.revision = revision if anew else self.revision
        self._advance(revision, events)

    def _advance(self, revision: int, events: Sequence[Event]) -> None:
        self.revision = max(self.revision, revision)
        for event in events:
            for prefix, listener in tuple(self._listeners):
                if event.kv.key.startswith(prefix):
                    try:
                        listener(event)
                    except Exception:
                        logger.exception("a listener of the store failed on %s %s", event.kind, event.kv.key)
        for waiter in [waiter for waiter in self._waiters if waiter[0] <= self.revision]:
            self._waiters.discard(waiter)
            if not waiter[1].done():
                waiter[1].set_result(None)

    async def _wait(self, revision: int, timeout: float) -> bool:
        if self.revision >= revision:
            return True
        waiter = (revision, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter[1]
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True

    def _lose(self, reason: str) -> None:
        self.reason = reason
        if self.lost_since is None:
            self.lost_since = time.monotonic()
            logger.warning("store lost: %s", reason)
            self._tell()

    def _found(self) -> None:
        if self.lost_since is not None:
            logger.info("store is back after %.1f s", time.monotonic() - self.lost_since)
            self.lost_since, self.reason = None, ""
            self._tell()

    def _tell(self) -> None:
        for listener in tuple(self._state_listeners):
            try:
                listener()
            except Exception:
                logger.exception("a listener of the store's state failed")


def _same(one: Sequence[KV], other: Sequence[KV]) -> bool:
    return [(kv.key, kv.value, kv.create_revision) for kv in one] == [
        (kv.key, kv.value, kv.create_revision) for kv in other
    ]


def _discard(listeners: list[Any], entry: Any) -> None:
    if entry in listeners:
        listeners.remove(entry)
