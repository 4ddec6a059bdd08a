"""A real etcd that dies, freezes, loses its data or its leader."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from swarmproxy.discovery import endpoints
from swarmproxy.discovery.cache import Cache
from swarmproxy.discovery.etcd import EtcdStore
from swarmproxy.discovery.session import Session
from swarmproxy.discovery.store import Absent, Event, Put, Store, TxnResult, Unavailable

Until = Callable[..., Awaitable[None]]


@contextlib.asynccontextmanager
async def opened(*servers: Any, probe: float = 0.2) -> AsyncIterator[EtcdStore]:
    store = EtcdStore([server.endpoint for server in servers], probe=probe)
    try:
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def running(*parts: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(part.run()) for part in parts]
    try:
        for part in parts:
            await part.ready(10)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def put(store: Store, key: str, value: bytes = b"") -> int:
    return (await store.txn([], [Put(key, value)])).revision


async def test_cache_and_session_outlive_a_killed_etcd(etcd: Any, until: Until) -> None:
    async with opened(etcd) as store:
        cache, session = Cache(store), Session(store, ttl=5.0)
        await put(store, "k/old")
        async with running(cache, session):
            await session.register("agents/n", b"1")
            lease = session.lease
            heard: list[Event] = []
            cache.listen("", heard.append)
            assert await cache.reached(cache.revision)
            etcd.kill()
            await until(lambda: cache.lost_since is not None)
            assert cache.reason.startswith(f"etcd {etcd.endpoint}: ")
            assert cache.get("k/old") is not None
            etcd.start()
            await until(lambda: cache.lost_since is None)
            await until(lambda: session.remaining() > 4.0)
            assert session.lease == lease
            assert await cache.reached(await put(store, "k/new"), 5)
            assert cache.get("agents/n") is not None
            assert [event.kind for event in heard if event.kv.key == "agents/n"].count("delete") == 0
            await session.close()


async def test_a_wiped_etcd_is_read_anew_and_registered_again(etcd: Any, until: Until) -> None:
    async with opened(etcd) as store:
        cache, session = Cache(store), Session(store, ttl=3.0)
        for number in range(5):
            await put(store, f"k/{number}")
        async with running(cache, session):
            await session.register("agents/n", b"1")
            first = session.lease
            await until(lambda: cache.get("agents/n"))
            store._cluster._term += 100  # as after many elections
            etcd.kill()
            etcd.wipe()
            await until(lambda: cache.lost_since is not None)
            etcd.start()
            await until(lambda: (kv := cache.get("agents/n")) and kv.lease == session.lease != first)
            assert [kv.key for kv in cache.under("")] == ["agents/n"]
            assert cache.revision < 5
            await session.close()


async def test_a_frozen_etcd_is_noticed_and_nothing_is_missed(
    etcd: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "CALL", 0.5)
    monkeypatch.setattr("swarmproxy.discovery.etcd.CALL", 0.5)
    monkeypatch.setattr(endpoints, "PATIENCE", 1.0)
    async with opened(etcd) as store, opened(etcd) as writer:
        cache, session = Cache(store), Session(store, ttl=1.0)
        renewed: list[int] = []
        session.on_renewed.append(lambda: renewed.append(session.lease))
        await session.register("agents/n", b"1")
        async with running(cache, session):
            first = session.lease
            heard: list[bytes] = []
            cache.listen("w/", lambda event: heard.append(event.kv.value))
            await put(writer, "w/a", b"before")
            etcd.freeze()
            frozen = time.monotonic()
            await until(lambda: cache.lost_since is not None)
            assert time.monotonic() - frozen < 2.0
            assert "no answer in time" in cache.reason
            with pytest.raises(Unavailable, match="may have happened"):
                await put(writer, "w/never")
            lost = cache.lost_since or 0.0
            await until(lambda: session.remaining() == 0.0 and time.monotonic() > max(frozen + 1.7, lost + 1.1))
            began = time.monotonic()
            for _ in range(3):  # known lost by now
                with pytest.raises(Unavailable, match="no answer in time"):
                    await store.get("w/a")
            assert time.monotonic() - began < 0.1
            etcd.thaw()
            # Longer than the lease: it is gone, and replaced.
            await until(lambda: session.lease not in (0, first) and session.remaining() > 0)
            await until(lambda: renewed)
            await until(lambda: cache.lost_since is None)  # earlier than that, a list tells the newest value alone
            for number in range(10):
                last = await put(writer, "w/b", b"%d" % number)
            assert await cache.reached(last, 5)
            assert heard[0] == b"before" and heard[-10:] == [b"%d" % number for number in range(10)]
            kv = cache.get("agents/n")
            assert kv is not None and kv.lease == session.lease == renewed[-1]
            await session.close()


async def test_a_write_waits_for_a_short_outage(etcd: Any) -> None:
    async with opened(etcd) as store:
        await put(store, "a")
        etcd.kill()
        waiting = asyncio.create_task(store.txn([Absent("b")], [Put("b", b"")]))
        unguarded = asyncio.create_task(store.txn([], [Put("c", b"")]))  # certainly not sent: repeated as well
        await asyncio.sleep(0)
        etcd.start()
        assert (await waiting).ok
        assert (await unguarded).ok


async def test_a_store_known_lost_is_refused_at_once(etcd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "PATIENCE", 0.4)
    async with opened(etcd) as store:
        await put(store, "a")
        etcd.kill()
        began = time.monotonic()
        with pytest.raises(Unavailable, match="refused"):
            await store.txn([Absent("b")], [Put("b", b"")])
        assert 0.3 < time.monotonic() - began < 2.0
        began = time.monotonic()
        with pytest.raises(Unavailable, match="refused"):
            await store.txn([Absent("b")], [Put("b", b"")])
        with pytest.raises(Unavailable):
            await store.get("a")
        assert time.monotonic() - began < 0.05
        etcd.start()
        until = time.monotonic() + 10
        while True:  # nobody asks but the store's own probe
            with contextlib.suppress(Unavailable):
                assert (await put(store, "b")) > 0
                break
            assert time.monotonic() < until
            await asyncio.sleep(0.02)


class Lossy:
    """A KV stub whose first transaction is carried out, or not, and whose answer is lost."""

    def __init__(self, stub: Any, *, carried_out: bool) -> None:
        self._stub = stub
        self._carried_out = carried_out
        self._lost = False
        self.Range = stub.Range
        self.sent = 0

    async def Txn(self, request: Any, **options: Any) -> Any:
        self.sent += 1
        if self._lost:
            return await self._stub.Txn(request, **options)
        self._lost = True
        if self._carried_out:
            await self._stub.Txn(request, **options)
        empty = grpc.aio.Metadata()
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, empty, empty, "etcdserver: request timed out")


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_lost_answer_of_a_guarded_write_is_found_out(shared_etcd: Any, carried_out: bool) -> None:
    async with opened(shared_etcd) as store:
        key = f"lossy/{carried_out}"
        store._cluster.current.kv = Lossy(store._cluster.current.kv, carried_out=carried_out)
        result = await store.txn([Absent(key)], [Put(key, b"token"), Put(key + "/more", b"token")])
        kv = await store.get(key)
        assert kv is not None
        assert result == TxnResult(True, kv.mod_revision)


async def test_a_lost_answer_does_not_hide_who_was_there_before(shared_etcd: Any) -> None:
    async with opened(shared_etcd) as store:
        await put(store, "lossy/taken", b"other")
        store._cluster.current.kv = Lossy(store._cluster.current.kv, carried_out=True)
        assert not (await store.txn([Absent("lossy/taken")], [Put("lossy/taken", b"token")])).ok


async def test_an_unguarded_write_is_never_sent_twice(shared_etcd: Any) -> None:
    async with opened(shared_etcd) as store:
        lossy = store._cluster.current.kv = Lossy(store._cluster.current.kv, carried_out=True)
        with pytest.raises(Unavailable, match="may have happened"):
            await put(store, "lossy/blind")
        assert lossy.sent == 1


async def test_closing_the_store_ends_its_calls_as_unavailable(etcd: Any) -> None:
    async with opened(etcd) as store:
        revision = await put(store, "a")
        watching = asyncio.ensure_future(anext(store.watch("", revision)))
        etcd.freeze()
        asking = asyncio.create_task(store.get("a"))
        await asyncio.sleep(0.05)
        await store.close()
        for task in (watching, asking):
            with pytest.raises(Unavailable):
                await asyncio.wait_for(task, 5)


async def test_a_cluster_of_three_loses_its_leader_and_no_event(etcds: Any, until: Until) -> None:
    async with opened(*etcds) as store, opened(*etcds) as writer:
        cache = Cache(store)
        async with running(cache):
            heard: list[int] = []
            cache.listen("w/", lambda event: heard.append(int(event.kv.key[2:])))
            written: list[int] = []

            async def write() -> None:
                for number in range(200):
                    result = await writer.txn([Absent(f"w/{number}")], [Put(f"w/{number}", b"%d" % number)])
                    assert result.ok
                    written.append(number)

            writing = asyncio.create_task(write())
            await until(lambda: len(written) > 50)
            (await leader(store, etcds)).kill()
            await asyncio.wait_for(writing, 15)
            revision, found = await writer.list("w/")
            assert len(found) == 200
            assert await cache.reached(revision, 10)
            assert heard == list(range(200))


async def leader(store: EtcdStore, servers: Any) -> Any:
    for endpoint, server in zip(store._cluster._all, servers, strict=True):
        status = await endpoint.maintenance.Status(store._rpc.StatusRequest(), timeout=2)
        if status.leader == status.header.member_id:
            return server
    raise AssertionError("no leader")
