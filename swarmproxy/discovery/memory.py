"""A store in this process: an MVCC map with leases, history and watches. Base of the embedded store; truth in tests.

One list of keys kept sorted beside the map: a prefix is two bisections. Revisions are dense, so the history is a list
indexed by revision, and a watch is a position in it; a watch that falls behind the history gets Compacted, so memory is
bounded by `history`. No lock: every change is made without an await in between.

Leases end by a timer of the event loop, and by every call, on the injected clock.
"""

from __future__ import annotations

import asyncio
import bisect
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from swarmproxy.discovery import txn
from swarmproxy.discovery.store import (
    KV,
    Absent,
    Batch,
    Compacted,
    Compare,
    Delete,
    Event,
    LeaseNotFound,
    ModIs,
    Op,
    Put,
    TxnResult,
    Unavailable,
)

__all__ = ["MemoryStore"]


_Found = list[KV]  # inside the class `list` is a method


@dataclass(slots=True)
class _Lease:
    ttl: float
    until: float
    keys: set[str] = field(default_factory=set)


class MemoryStore:
    """See `store.Store` for the guarantees.

    Args:
        clock: monotonic seconds; leases live by it.
        history: batches kept for watches from the past.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, history: int = 10_000) -> None:
        self._clock = clock
        self._history = history
        self._data: dict[str, KV] = {}
        self._keys: list[str] = []
        self._revision = 1
        self._compacted = 1
        self._log: list[Batch] = []
        """The batch of revision r is at r - compacted - 1."""
        self._leases: dict[int, _Lease] = {}
        self._watches: set[asyncio.Event] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def revision(self) -> int:
        return self._revision

    async def get(self, key: str) -> KV | None:
        self.expire()
        return self._data.get(key)

    async def list(self, prefix: str) -> tuple[int, list[KV]]:
        self.expire()
        return self._revision, self._under(prefix)

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        txn.check(compares, ops)
        self.expire()
        if not all(self._holds(compare) for compare in compares):
            return TxnResult(False, self._revision)
        for op in ops:
            if isinstance(op, Put) and op.lease and op.lease not in self._leases:
                raise LeaseNotFound(f"lease {op.lease:x} has expired or was revoked")
        self._commit(ops)
        return TxnResult(True, self._revision)

    async def grant(self, ttl: float) -> int:
        self.expire()
        # Random, so that a lease of an earlier opening of a persistent store is never taken for a new one.
        lease = secrets.randbits(62) + 1
        self._leases[lease] = _Lease(ttl, self._clock() + ttl)
        self._arm()
        return lease

    async def keepalive(self, lease: int) -> float:
        self.expire()
        held = self._leases.get(lease)
        if held is None:
            raise LeaseNotFound(f"lease {lease:x} has expired or was revoked")
        held.until = self._clock() + held.ttl
        return held.ttl

    async def revoke(self, lease: int) -> None:
        self.expire()
        self._end(lease)

    async def compact(self, revision: int) -> None:
        """Forgets the history up to and including `revision`."""
        gone = max(0, min(revision, self._revision) - self._compacted)
        del self._log[:gone]
        self._compacted += gone

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
        wake = asyncio.Event()
        self._watches.add(wake)
        try:
            while True:
                if self._closed:
                    raise Unavailable("the store is closed")
                while after < self._revision:
                    if after < self._compacted:
                        raise Compacted(self._compacted)
                    batch = self._log[after - self._compacted]
                    after = batch.revision
                    events = tuple(event for event in batch.events if event.kv.key.startswith(prefix))
                    if events:
                        yield batch if len(events) == len(batch.events) else Batch(batch.revision, events)
                wake.clear()
                await wake.wait()
        finally:
            self._watches.discard(wake)

    async def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()

    def expire(self) -> None:
        """Ends the leases whose time is over. Every call does it first; a test does it after moving its clock."""
        if self._closed:
            raise Unavailable("the store is closed")
        now = self._clock()
        for lease in [lease for lease, held in self._leases.items() if held.until <= now]:
            self._end(lease)

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._leases and not self._closed:
            soonest = min(held.until for held in self._leases.values()) - self._clock()
            self._timer = loop.call_later(max(soonest, 0.01), self._due)

    def _due(self) -> None:
        self._timer = None
        self.expire()
        self._arm()

    def _end(self, lease: int) -> None:
        held = self._leases.get(lease)
        if held is not None:
            self._commit([Delete(key) for key in sorted(held.keys)])
            del self._leases[lease]

    def _under(self, prefix: str) -> _Found:
        first = bisect.bisect_left(self._keys, prefix)
        last = bisect.bisect_left(self._keys, prefix + "\U0010ffff", first)
        return [self._data[key] for key in self._keys[first:last]]

    def _holds(self, compare: Compare) -> bool:
        match compare:
            case Absent(key):
                return key not in self._data
            case ModIs(key, revision):
                held = self._data.get(key)
                return (held.mod_revision if held else 0) == revision
            case _:
                return all(kv.mod_revision <= compare.revision for kv in self._under(compare.prefix))

    def _commit(self, ops: Iterable[Op]) -> None:
        revision = self._revision + 1
        events: list[Event] = []
        for op in ops:
            old = self._data.get(op.key)
            if isinstance(op, Put):
                created = old.create_revision if old else revision
                events.append(Event("put", KV(op.key, op.value, created, revision, op.lease)))
            elif old is not None:
                events.append(Event("delete", KV(op.key, b"", 0, revision)))
        if not events:
            return
        self._journal(revision, events)
        for event in events:
            self._apply(event)
        self._revision = revision
        self._log.append(Batch(revision, tuple(events)))
        if len(self._log) >= 2 * self._history:  # trimmed by halves, so that a write stays cheap
            self._compacted += len(self._log) - self._history
            del self._log[: -self._history]
        self._wake()

    def _apply(self, event: Event) -> None:
        key = event.kv.key
        old = self._data.get(key)
        if old is not None and old.lease in self._leases:
            self._leases[old.lease].keys.discard(key)
        if event.kind == "delete":
            del self._data[key]
            del self._keys[bisect.bisect_left(self._keys, key)]
            return
        if old is None:
            bisect.insort(self._keys, key)
        self._data[key] = event.kv
        if event.kv.lease:
            self._leases[event.kv.lease].keys.add(key)

    def _journal(self, revision: int, events: Sequence[Event]) -> None:
        """For persistent stores: called before a change is made; an exception prevents it."""

    def _wake(self) -> None:
        for watch in self._watches:
            watch.set()
