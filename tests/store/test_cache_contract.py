"""The cache over every store: a copy that follows, and says when it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from swarmproxy.discovery.cache import Cache
from swarmproxy.discovery.etcd import EtcdStore
from swarmproxy.discovery.memory import MemoryStore
from swarmproxy.discovery.store import KV, Delete, Event, Put, Store, Unavailable

Until = Callable[[Callable[[], object]], Awaitable[None]]


@contextlib.asynccontextmanager
async def following(store: Store) -> AsyncIterator[Cache]:
    cache = Cache(store)
    task = asyncio.create_task(cache.run())
    try:
        yield cache
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def put(store: Store, key: str, value: bytes = b"") -> int:
    return (await store.txn([], [Put(key, value)])).revision


async def same(cache: Cache, store: Store) -> None:
    revision, found = await store.list("")
    assert await cache.reached(revision)
    assert cache.under("") == found


async def test_it_holds_what_the_store_holds(store: Store) -> None:
    await put(store, "a/1", b"x")
    async with following(store) as cache:
        await cache.ready(5)
        assert cache.lost_since is None
        revision = await put(store, "a/2", b"y")
        await put(store, "b/1")
        last = (await store.txn([], [Delete("a/1"), Put("a/0", b"z")])).revision
        assert await cache.reached(last, 5)
        assert cache.revision == last
        assert [kv.key for kv in cache.under("a/")] == ["a/0", "a/2"]
        kv = cache.get("a/2")
        assert kv == KV("a/2", b"y", revision, revision)
        assert cache.get("a/1") is None
        await same(cache, store)


async def test_it_misses_nothing_while_many_write(store: Store) -> None:
    async def write(writer: int) -> None:
        for number in range(30):
            await put(store, f"w/{writer}/{number % 10}", b"%d" % number)
            if number % 7 == 0:
                await store.txn([], [Delete(f"w/{writer}/{number % 10}")])

    async with following(store) as cache:
        heard: dict[str, bytes] = {}

        def listen(event: Event) -> None:
            if event.kind == "put":
                heard[event.kv.key] = event.kv.value
            else:
                heard.pop(event.kv.key)

        cache.listen("", listen)
        await asyncio.gather(*(write(writer) for writer in range(6)))
        await same(cache, store)
        assert heard == {kv.key: kv.value for kv in cache.under("")}


async def test_a_revision_elsewhere_is_reached_all_the_same(shared_etcd: Any) -> None:
    server = shared_etcd  # only an etcd has other tenants
    store, other = EtcdStore([server.endpoint], root="/mine/"), EtcdStore([server.endpoint], root="/theirs/")
    try:
        async with following(store) as cache:
            await cache.ready(5)
            assert await cache.reached(await put(other, "x"), 5)
            assert cache.under("") == []
            await put(store, "y")
            await same(cache, store)
    finally:
        await store.close()
        await other.close()


async def test_listeners_hear_whole_transactions_in_order(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    async with following(store) as cache:
        heard: list[tuple[str, str, bool]] = []

        def listen(event: Event) -> None:
            heard.append((event.kind, event.kv.key, cache.get("a/2") is not None))
            raise RuntimeError("a listener's own fault")

        remove = cache.listen("a/", listen)
        await cache.ready(5)
        await store.txn([], [Put("a/1", b""), Put("b/1", b""), Put("a/2", b"")])
        revision = (await store.txn([], [Delete("a/1")])).revision
        assert await cache.reached(revision, 5)
        assert heard == [("put", "a/1", True), ("put", "a/2", True), ("delete", "a/1", True)]
        assert "a listener of the store failed on put a/1" in caplog.text
        remove()
        assert await cache.reached(await put(store, "a/3"), 5)
        assert len(heard) == 3


async def test_a_revision_that_does_not_come_is_not_reached(store: Store) -> None:
    async with following(store) as cache:
        await cache.ready(5)
        assert not await cache.reached(cache.revision + 100, 0.05)


class Breakable(MemoryStore):
    """A memory store whose line can be cut."""

    cut = False

    async def list(self, prefix: str) -> tuple[int, list[KV]]:
        if self.cut:
            raise Unavailable("the line is cut")
        return await super().list(prefix)

    async def watch(self, prefix, after):  # type: ignore[no-untyped-def]
        source = super().watch(prefix, after)
        try:
            async for batch in source:
                if self.cut:
                    raise Unavailable("the line is cut")
                yield batch
        finally:
            await source.aclose()


async def test_after_a_compaction_deletions_are_made_up(caplog: pytest.LogCaptureFixture, until: Until) -> None:
    caplog.set_level(logging.INFO)
    store = Breakable(history=4)
    for number in range(3):
        await put(store, f"k/{number}")
    async with following(store) as cache:
        await cache.ready(5)
        heard: list[tuple[str, str]] = []
        states: list[bool] = []
        cache.listen("", lambda event: heard.append((event.kind, event.kv.key)))
        cache.on_state(lambda: states.append(cache.lost_since is not None))
        store.cut = True
        await put(store, "k/0", b"changed")
        await until(lambda: cache.lost_since is not None)
        assert cache.reason == "the line is cut"
        assert [kv.key for kv in cache.under("k/")] == ["k/0", "k/1", "k/2"]  # silence removes nothing
        await store.txn([], [Delete("k/1")])
        for number in range(20):
            last = await put(store, "k/2", b"%d" % number)
        store.cut = False
        assert await cache.reached(last, 5)
        await until(lambda: cache.lost_since is None)
        assert heard == [("delete", "k/1"), ("put", "k/0"), ("put", "k/2")]
        assert (states, cache.reason) == ([True, False], "")
        await same(cache, store)
    lines = [record.message for record in caplog.records if "store" in record.message]
    assert [line.split(":")[0].split(" after")[0] for line in lines] == ["store lost", "store is back"]


async def test_a_wiped_store_is_read_anew(until: Until) -> None:
    first = Breakable()
    for number in range(5):
        await put(first, f"k/{number}")
    async with following(first) as cache:
        await cache.ready(5)
        heard: list[tuple[str, str]] = []
        cache.listen("", lambda event: heard.append((event.kind, event.kv.key)))
        first.cut = True
        await put(first, "k/0")
        await until(lambda: cache.lost_since is not None)
        second = MemoryStore()
        await put(second, "k/4", b"new")
        cache._store = second
        await until(lambda: cache.lost_since is None)
        assert cache.revision == second.revision
        assert [kv.value for kv in cache.under("")] == [b"new"]
        assert heard == [("delete", f"k/{number}") for number in range(4)] + [("put", "k/4")]


class Late(MemoryStore):
    """A memory store whose watches are held back."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def watch(self, prefix, after):  # type: ignore[no-untyped-def]
        source = super().watch(prefix, after)
        try:
            async for batch in source:
                await self.gate.wait()
                yield batch
        finally:
            await source.aclose()


async def test_what_was_listed_meanwhile_is_not_heard_again() -> None:
    store = Late()
    async with following(store) as cache:
        await cache.ready(5)
        heard: list[tuple[str, bytes]] = []
        cache.listen("", lambda event: heard.append((event.kind, event.kv.value)))
        await put(store, "a", b"1")
        await store.txn([], [Delete("a")])
        assert await cache.reached(await put(store, "a", b"2"), 5)
        store.gate.set()
        assert await cache.reached(await put(store, "b", b"3"), 5)
        assert heard == [("put", b"2"), ("put", b"3")]


async def test_ready_says_why_not() -> None:
    store = Breakable()
    store.cut = True
    async with following(store) as cache:
        with pytest.raises(Unavailable, match="the line is cut"):
            await cache.ready(0.2)
