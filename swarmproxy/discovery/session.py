"""One process's lease on the store, and the keys that say it lives.

Renewed every third of its time to live. What is left is counted on the monotonic clock from before the last successful
renewal was sent, so `remaining` never promises more than the store does. Silence of the store is no death:
an outage leaves leases alone (a new leader arms them afresh), so the session goes on asking for the old one, and takes
a new lease only when the store says the old one is gone. Then everything registered is put again and `on_renewed` told:
whatever else hung on the old lease is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from swarmproxy.discovery.backoff import Backoff
from swarmproxy.discovery.store import Delete, LeaseNotFound, Put, Store, StoreError, Unavailable

__all__ = ["Session"]

logger = logging.getLogger(__name__)

BATCH = 100
"""Keys put back in one transaction."""


class Session:
    """A lease kept alive by `run`.

    Args:
        ttl: seconds until the store takes the process for dead.
        clock: monotonic seconds.
    """

    def __init__(self, store: Store, ttl: float = 6.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._ttl = ttl
        self._clock = clock
        self._keys: dict[str, bytes] = {}
        self._until = 0.0
        self._failing: float | None = None
        self._held = asyncio.Event()
        self._wake = asyncio.Event()
        self._closed = False
        self._announced = 0
        """The lease that `on_renewed` was last told of; the first one is no renewal."""
        self.lease = 0
        """The lease's number; 0 before the first and while there is none."""
        self.on_renewed: list[Callable[[], None]] = []
        """Called after a lost lease was replaced and the registered keys are back."""

    def remaining(self) -> float:
        """Seconds that the lease surely still has; 0 without one."""
        return max(0.0, self._until - self._clock()) if self.lease else 0.0

    async def ready(self, timeout: float) -> None:
        """Waits for a lease with all registered keys put. Raises Unavailable after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._held.wait()
        except TimeoutError:
            raise Unavailable(f"no lease within {timeout:g} s") from None

    async def register(self, key: str, value: bytes) -> None:
        """Keeps `key` in the store as long as the process lives; again with another value replaces it.

        When the store is away, or there is no lease yet, this returns all the same: the key is put as soon as may be.
        """
        self._keys[key] = value
        if self.lease and self._held.is_set():
            try:
                await self._store.txn([], [Put(key, value, self.lease)])
            except StoreError:
                self._held.clear()
                self._wake.set()

    async def unregister(self, key: str) -> None:
        """Forgets the key and deletes it; if the store is away, it goes with the lease."""
        if self._keys.pop(key, None) is not None and self.lease:
            with contextlib.suppress(StoreError):
                await self._store.txn([], [Delete(key)])

    async def run(self) -> None:
        """Keeps the lease until `close`, or cancellation."""
        backoff = Backoff(base=min(0.1, self._ttl / 20), cap=min(0.5, self._ttl / 6))
        while not self._closed:
            try:
                async with asyncio.timeout(max(self._ttl / 2, 1.0)):
                    await self._renew()
            except LeaseNotFound:
                if self._closed:
                    return
                self._until, self.lease = 0.0, 0
                self._held.clear()
                logger.warning("the lease is gone; taking a new one")
                pause = backoff.next()
            except (StoreError, TimeoutError) as error:
                self._fail(str(error) or "no answer in time")
                pause = backoff.next()
            else:
                self._recover()
                backoff.reset()
                pause = self._ttl / 3
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def close(self) -> None:
        """Ends `run` and the lease with its keys; does not fail when the store is away (the lease then runs out)."""
        self._closed = True
        self._wake.set()
        self._held.clear()
        lease, self.lease, self._until = self.lease, 0, 0.0
        if lease:
            await self._revoke(lease)

    async def _renew(self) -> None:
        sent = self._clock()
        fresh = not self.lease
        if fresh:
            lease = await self._store.grant(self._ttl)
            if self._closed:
                await self._revoke(lease)
                return
            self.lease, self._until = lease, sent + self._ttl
        else:
            ttl = await self._store.keepalive(self.lease)
            if self.lease:
                self._until = max(self._until, sent + min(ttl, self._ttl))
        if not self._held.is_set() and self.lease:
            await self._put_all(self.lease)
            if not self._closed:
                self._held.set()
                self._announce()

    def _announce(self) -> None:
        before, self._announced = self._announced, self.lease
        if before in (0, self.lease):
            return
        for listener in tuple(self.on_renewed):
            try:
                listener()
            except Exception:
                logger.exception("a listener of the session failed")

    async def _put_all(self, lease: int) -> None:
        done: dict[str, bytes] = {}
        while missing := [(key, value) for key, value in self._keys.items() if done.get(key) != value][:BATCH]:
            await self._store.txn([], [Put(key, value, lease) for key, value in missing])
            done.update(missing)

    async def _revoke(self, lease: int) -> None:
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(2.0):
                await self._store.revoke(lease)

    def _fail(self, reason: str) -> None:
        if self._failing is None:
            self._failing = self._clock()
            logger.warning("the lease cannot be renewed: %s", reason)

    def _recover(self) -> None:
        if self._failing is not None:
            logger.info("the lease is renewed again after %.1f s", self._clock() - self._failing)
            self._failing = None
