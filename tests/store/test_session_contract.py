"""The session over every store, and its counting on a clock of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from swarmproxy.discovery.memory import MemoryStore
from swarmproxy.discovery.session import Session
from swarmproxy.discovery.store import Put, Store, Unavailable

Until = Callable[[Callable[[], object]], Awaitable[None]]


@contextlib.asynccontextmanager
async def living(session: Session) -> AsyncIterator[Session]:
    task = asyncio.create_task(session.run())
    try:
        yield session
    finally:
        await session.close()
        await asyncio.wait_for(task, 5)


async def value(store: Store, key: str) -> bytes | None:
    kv = await store.get(key)
    return kv.value if kv else None


async def test_registered_keys_live_with_the_session(store: Store) -> None:
    session = Session(store, ttl=3.0)
    await session.register("agents/n", b"early")
    assert session.remaining() == 0.0
    async with living(session):
        await session.ready(5)
        assert await value(store, "agents/n") == b"early"
        await session.register("agents/n", b"changed")
        await session.register("proxies/p", b"1")
        assert await value(store, "agents/n") == b"changed"
        await session.unregister("proxies/p")
        assert await value(store, "proxies/p") is None
        assert 1.0 < session.remaining() <= 3.0
        lease = session.lease
        assert lease and (await store.get("agents/n")).lease == lease  # type: ignore[union-attr]
    assert await value(store, "agents/n") is None
    assert (session.lease, session.remaining()) == (0, 0.0)


async def test_it_is_renewed_before_its_time(store: Store, until: Until) -> None:
    async with living(Session(store, ttl=0.6)) as session:
        await session.ready(5)
        lease = session.lease
        until_first = session._until
        await until(lambda: session._until > until_first)
        assert session.lease == lease


async def test_a_lost_lease_is_replaced_and_everything_put_again(store: Store, until: Until) -> None:
    renewed: list[int] = []
    async with living(Session(store, ttl=0.3)) as session:
        session.on_renewed.append(lambda: renewed.append(session.lease))
        await session.register("agents/n", b"1")
        await session.ready(5)
        first = session.lease
        await store.txn([], [Put("alloc/n/t", b"", first)])
        await store.revoke(first)
        await until(lambda: renewed)
        assert session.lease != first
        assert renewed == [session.lease]
        assert await value(store, "agents/n") == b"1"
        assert await value(store, "alloc/n/t") is None


class Silent(MemoryStore):
    """A memory store that can stop answering."""

    silent = False

    async def keepalive(self, lease: int) -> float:
        if self.silent:
            raise Unavailable("silence")
        return await super().keepalive(lease)

    async def txn(self, compares, ops):  # type: ignore[no-untyped-def]
        if self.silent:
            raise Unavailable("silence")
        return await super().txn(compares, ops)


async def test_remaining_runs_down_while_the_store_is_silent(caplog: pytest.LogCaptureFixture, until: Until) -> None:
    caplog.set_level("INFO")
    now = [100.0]
    store = Silent()  # its leases live on the real clock: it is the line that is silent, not the store
    async with living(Session(store, ttl=0.6, clock=lambda: now[0])) as session:
        await session.ready(5)
        store.silent = True
        await until(lambda: "cannot be renewed: silence" in caplog.text)
        assert session.remaining() == pytest.approx(0.6)
        now[0] += 0.5
        assert session.remaining() == pytest.approx(0.1)
        now[0] += 0.5
        assert session.remaining() == 0.0
        assert session.lease  # silence is no death
        store.silent = False
        await until(lambda: session.remaining() > 0)
    assert caplog.text.count("cannot be renewed") == 1
    assert caplog.text.count("renewed again") == 1


class Slow(MemoryStore):
    """Each renewal takes a second on the clock, by its answer's way back."""

    def __init__(self, now: list[float]) -> None:
        super().__init__(clock=lambda: now[0])
        self.now = now
        self.renewals = 0

    async def keepalive(self, lease: int) -> float:
        ttl = await super().keepalive(lease)
        self.now[0] += 1.0
        self.renewals += 1
        return ttl


async def test_remaining_counts_from_before_the_renewal_was_sent(until: Until) -> None:
    now = [100.0]
    store = Slow(now)
    async with living(Session(store, ttl=6.0, clock=lambda: now[0])) as session:
        await session.ready(5)
        session._wake.set()  # do not wait for a third of the time
        await until(lambda: store.renewals == 1)
        assert session.remaining() == pytest.approx(5.0)


async def test_what_could_not_be_registered_follows_later() -> None:
    store = Silent()
    async with living(Session(store, ttl=0.6)) as session:
        await session.ready(5)
        store.silent = True
        await session.register("agents/n", b"1")
        assert await store.get("agents/n") is None
        store.silent = False
        await session.ready(5)
        assert await value(store, "agents/n") == b"1"


async def test_without_a_store_it_says_so() -> None:
    store = MemoryStore()
    await store.close()
    async with living(Session(store, ttl=1.0)) as session:
        with pytest.raises(Unavailable):
            await session.ready(0.05)
