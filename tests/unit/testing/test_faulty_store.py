"""A store that fails on demand: before, after, in its watches."""

from __future__ import annotations

import asyncio

import pytest

from swarmproxy.discovery.memory import MemoryStore
from swarmproxy.discovery.store import Absent, Put, Unavailable
from swarmproxy.testing import FaultyStore

PUT = ([Absent("k")], [Put("k", b"v")])


async def test_it_passes_through() -> None:
    store = FaultyStore(MemoryStore())
    assert (await store.txn(*PUT)).ok
    found = await store.get("k")
    assert found is not None and found.value == b"v"
    _, listed = await store.list("")
    assert [kv.key for kv in listed] == ["k"]
    assert list(store.calls) == ["txn", "get", "list"]


@pytest.mark.parametrize(("how", "applied"), [("fail", False), ("lose", True)])
async def test_a_transaction_fails_before_or_after_it_was_applied(how: str, applied: bool) -> None:
    store = FaultyStore(MemoryStore())
    getattr(store, how)("txn")
    with pytest.raises(Unavailable):
        await store.txn(*PUT)
    assert (await store.get("k") is not None) is applied
    assert (await store.txn(*PUT)).ok is not applied


async def test_unavailable_ends_watches_and_comes_back() -> None:
    store = FaultyStore(MemoryStore())
    revision, _ = await store.list("")
    watch = store.watch("", revision)
    await store.txn(*PUT)
    assert (await anext(watch)).events[0].kv.key == "k"
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    store.unavailable = True
    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(Unavailable):
        await store.get("k")
    with pytest.raises(Unavailable):
        await anext(store.watch("", revision))
    store.unavailable = False
    assert await store.get("k") is not None


async def test_hooks_may_wait_and_be_taken_off() -> None:
    store = FaultyStore(MemoryStore())
    gate = asyncio.Event()
    end = store.before("get", gate.wait)
    asking = asyncio.ensure_future(store.get("k"))
    await asyncio.sleep(0)
    assert not asking.done()
    gate.set()
    assert await asking is None
    end()
    gate.clear()
    assert await store.get("k") is None
