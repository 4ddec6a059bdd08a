"""What every store promises: each test runs over all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from swarmproxy.discovery.store import (
    Absent,
    Batch,
    Compacted,
    Delete,
    Event,
    LeaseNotFound,
    ModIs,
    NoneNewer,
    Put,
    Store,
)


async def put(store: Store, key: str, value: bytes = b"", lease: int = 0) -> int:
    result = await store.txn([], [Put(key, value, lease)])
    assert result.ok
    return result.revision


async def names(store: Store, prefix: str) -> list[str]:
    return [kv.key for kv in (await store.list(prefix))[1]]


@contextlib.asynccontextmanager
async def watching(store: Store, prefix: str, after: int) -> AsyncIterator[Any]:
    stream: Any = store.watch(prefix, after)
    try:
        yield stream
    finally:
        await stream.aclose()


async def collect(store: Store, prefix: str, after: int, count: int) -> list[Event]:
    """The first `count` events after a revision."""
    events: list[Event] = []
    async with asyncio.timeout(10), watching(store, prefix, after) as stream:
        while len(events) < count:
            batch: Batch = await anext(stream)
            assert batch.revision == batch.events[-1].kv.mod_revision
            events += batch.events
    return events


async def test_a_key_that_is_not_there_is_none(store: Store) -> None:
    assert await store.get("x") is None
    assert (await store.list("x"))[1] == []


async def test_a_put_is_read_back_with_its_revisions(store: Store) -> None:
    first = await put(store, "a", b"1")
    second = await put(store, "a", b"2")
    kv = await store.get("a")
    assert kv is not None
    assert (kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.lease) == ("a", b"2", first, second, 0)
    assert second == first + 1


async def test_a_list_is_ordered_and_holds_its_prefix_only(store: Store) -> None:
    for key in ("n/b", "n/a/x", "n/a", "m/z", "n", "n/é", "o/a"):
        await put(store, key)
    revision, found = await store.list("n/")
    assert [kv.key for kv in found] == ["n/a", "n/a/x", "n/b", "n/é"]
    assert revision >= max(kv.mod_revision for kv in found)
    assert await names(store, "") == ["m/z", "n", "n/a", "n/a/x", "n/b", "n/é", "o/a"]


async def test_one_of_many_creates_wins(store: Store) -> None:
    async def create(number: int) -> bool:
        return (await store.txn([Absent("name")], [Put("name", b"%d" % number)])).ok

    won = await asyncio.gather(*(create(number) for number in range(20)))
    assert won.count(True) == 1
    kv = await store.get("name")
    assert kv is not None and kv.value == b"%d" % won.index(True)


async def test_compare_and_set(store: Store) -> None:
    first = await put(store, "a", b"1")
    result = await store.txn([ModIs("a", first)], [Put("a", b"2")])
    assert result.ok and result.revision == first + 1
    refused = await store.txn([ModIs("a", first)], [Put("a", b"3"), Delete("b")])
    assert not refused.ok and refused.revision >= result.revision
    kv = await store.get("a")
    assert kv is not None and kv.value == b"2"
    assert not (await store.txn([ModIs("a", 0)], [Put("a", b"4")])).ok
    assert (await store.txn([ModIs("new", 0)], [Put("new", b"")])).ok


async def test_all_compares_must_hold_and_all_ops_are_done(store: Store) -> None:
    await put(store, "a")
    assert not (await store.txn([Absent("b"), Absent("a")], [Put("b", b""), Delete("a")])).ok
    assert await names(store, "") == ["a"]
    result = await store.txn([Absent("b")], [Put("b", b""), Put("c", b""), Delete("a"), Delete("not there")])
    assert result.ok
    _, found = await store.list("")
    assert [(kv.key, kv.mod_revision) for kv in found] == [("b", result.revision), ("c", result.revision)]


async def test_none_newer_guards_a_range(store: Store) -> None:
    await put(store, "alloc/n/1")
    seen, _ = await store.list("alloc/n/")
    await put(store, "alloc/m/1")
    assert (await store.txn([NoneNewer("alloc/n/", seen)], [Put("other", b"")])).ok
    await put(store, "alloc/n/2")
    assert not (await store.txn([NoneNewer("alloc/n/", seen)], [Put("other", b"")])).ok
    seen, _ = await store.list("alloc/n/")
    await put(store, "alloc/n/1", b"changed")
    assert not (await store.txn([NoneNewer("alloc/n/", seen)], [Put("other", b"")])).ok


async def test_none_newer_over_an_empty_range_and_deletions(store: Store) -> None:
    seen, _ = await store.list("alloc/n/")
    assert (await store.txn([NoneNewer("alloc/n/", seen)], [Put("alloc/n/1", b"")])).ok
    assert not (await store.txn([NoneNewer("alloc/n/", seen)], [Put("alloc/n/2", b"")])).ok
    seen, _ = await store.list("alloc/n/")
    await store.txn([], [Delete("alloc/n/1")])
    assert (await store.txn([NoneNewer("alloc/n/", seen)], [Put("alloc/n/3", b"")])).ok


async def test_a_range_guard_lets_one_of_many_pass(store: Store) -> None:
    seen, _ = await store.list("alloc/n/")
    claims = [store.txn([NoneNewer("alloc/n/", seen)], [Put(f"alloc/n/{i}", b"")]) for i in range(10)]
    results = await asyncio.gather(*claims)
    assert [result.ok for result in results].count(True) == 1
    assert len(await names(store, "alloc/n/")) == 1


async def test_128_operations_fit_and_129_do_not(store: Store) -> None:
    result = await store.txn([], [Put(f"k/{i:03}", b"") for i in range(128)])
    assert result.ok
    _, found = await store.list("k/")
    assert len(found) == 128 and {kv.mod_revision for kv in found} == {result.revision}
    with pytest.raises(ValueError):
        await store.txn([], [Put(f"k/{i:03}", b"") for i in range(129)])
    with pytest.raises(ValueError):
        await store.txn([], [Put("k", b""), Delete("k")])


async def test_a_watch_from_the_past_sees_everything_in_order(store: Store) -> None:
    before, _ = await store.list("")
    first = await put(store, "w/a", b"1")
    await put(store, "elsewhere")
    both = (await store.txn([], [Put("w/a", b"2"), Put("w/b", b"x")])).revision
    last = (await store.txn([], [Delete("w/a"), Delete("w/nothing")])).revision
    events = await collect(store, "w/", before, 4)
    assert [(e.kind, e.kv.key, e.kv.value, e.kv.mod_revision) for e in events] == [
        ("put", "w/a", b"1", first),
        ("put", "w/a", b"2", both),
        ("put", "w/b", b"x", both),
        ("delete", "w/a", b"", last),
    ]
    assert [e.kv.key for e in await collect(store, "w/", first, 3)] == ["w/a", "w/b", "w/a"]


async def test_a_watch_misses_nothing_while_others_write(store: Store) -> None:
    before, _ = await store.list("")

    async def write(writer: int) -> None:
        for number in range(25):
            await put(store, f"w/{writer}/{number}", b"%d" % number)

    events, *_ = await asyncio.gather(collect(store, "w/", before, 200), *(write(writer) for writer in range(8)))
    revisions = [event.kv.mod_revision for event in events]
    assert len({event.kv.key for event in events}) == len(events) == 200
    assert revisions == sorted(revisions)


async def test_a_watch_waits_for_what_is_to_come(store: Store) -> None:
    revision = await put(store, "w/a")
    async with watching(store, "w/", revision) as stream:
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await put(store, "v/a")
        await put(store, "w/b")
        batch = await asyncio.wait_for(waiting, 5)
    assert [event.kv.key for event in batch.events] == ["w/b"]


async def test_history_that_is_gone_is_told(store: Store) -> None:
    before, _ = await store.list("")
    for number in range(10):
        last = await put(store, "w/a", b"%d" % number)
    await store.compact(last)  # type: ignore[attr-defined]
    with pytest.raises(Compacted) as told:
        await collect(store, "w/", before, 1)
    assert before < told.value.revision <= last
    newer = await put(store, "w/b")
    assert [event.kv.mod_revision for event in await collect(store, "w/", last, 1)] == [newer]


async def test_a_lease_that_runs_out_deletes_its_keys_as_events(store: Store) -> None:
    lease = await store.grant(0.3)  # etcd makes it a second
    other = await store.grant(60.0)
    await put(store, "l/a", b"", lease)
    await put(store, "l/b", b"", lease)
    await put(store, "l/kept", b"", other)
    last = await put(store, "l/free", b"", lease)
    last = await put(store, "l/free")  # without a lease again
    events = await collect(store, "l/", last, 2)
    assert sorted((event.kind, event.kv.key) for event in events) == [("delete", "l/a"), ("delete", "l/b")]
    assert await names(store, "l/") == ["l/free", "l/kept"]
    with pytest.raises(LeaseNotFound):
        await store.keepalive(lease)
    with pytest.raises(LeaseNotFound):
        await put(store, "l/a", b"", lease)
    # Compares come first: a refused transaction does not look at leases.
    assert not (await store.txn([Absent("l/free")], [Put("l/a", b"", lease)])).ok


async def test_a_revoked_lease_takes_its_keys_at_once(store: Store) -> None:
    lease = await store.grant(60.0)
    await put(store, "l/a", b"", lease)
    kv = await store.get("l/a")
    assert kv is not None and kv.lease == lease
    assert 1.0 < await store.keepalive(lease) <= 61.0
    await store.revoke(lease)
    assert await store.get("l/a") is None
    await store.revoke(lease)
