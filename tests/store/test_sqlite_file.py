"""What the embedded store keeps, and who may own it."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from swarmproxy.discovery.sqlite import SqliteStore
from swarmproxy.discovery.store import Compacted, Delete, Put, StoreError, Unavailable


async def test_keys_and_revisions_survive_leased_ones_do_not(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state" / "store.db")
    lease = await store.grant(60)
    await store.txn([], [Put("a", b"1"), Put("gone", b""), Put("leased", b"", lease), Put("was/leased", b"", lease)])
    await store.txn([], [Put("a", b"2"), Delete("gone"), Put("was/leased", b"now kept")])
    last = (await store.txn([], [Put("later/leased", b"")])).revision
    last = (await store.txn([], [Put("later/leased", b"", lease)])).revision
    before = {kv.key: kv for kv in (await store.list(""))[1]}
    await store.close()

    store = SqliteStore(tmp_path / "state" / "store.db")
    revision, found = await store.list("")
    assert [kv.key for kv in found] == ["a", "was/leased"]
    assert found == [before["a"], before["was/leased"]]
    assert revision > last
    with pytest.raises(Compacted):  # leased keys went without an event
        await anext(store.watch("", last))
    assert (await store.txn([], [Put("b", b"")])).revision == revision + 1
    assert (await anext(store.watch("", revision))).events[0].kv.key == "b"
    await store.close()


async def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    with pytest.raises(StoreError, match="one proxy may own an embedded store; for more use etcd://"):
        SqliteStore(tmp_path / "store.db")
    code = (
        "import pathlib, sys; from swarmproxy.discovery.sqlite import SqliteStore; "
        "SqliteStore(pathlib.Path(sys.argv[1]))"
    )
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(tmp_path / "store.db"), stderr=PIPE)
    _, said = await asyncio.wait_for(other.communicate(), 20)
    assert other.returncode and b"one proxy may own" in said
    await store.close()
    await store.close()
    await SqliteStore(tmp_path / "store.db").close()


async def test_a_write_that_cannot_be_journalled_does_not_happen(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    await store.txn([], [Put("a", b"1")])
    store._database.execute("pragma query_only = on")
    with pytest.raises(Unavailable, match="cannot be written"):
        await store.txn([], [Put("a", b"2")])
    revision, found = await store.list("")
    assert [kv.value for kv in found] == [b"1"]
    store._database.execute("pragma query_only = off")
    assert (await store.txn([], [Put("a", b"3")])).revision == revision + 1
    await store.close()


async def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database, but long enough to be taken for one" * 30)
    with pytest.raises(StoreError, match=r"store\.db: file is not a database"):
        SqliteStore(tmp_path / "store.db")
