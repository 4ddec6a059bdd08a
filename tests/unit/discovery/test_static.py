"""Lists of members and what they do to the store."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import msgspec
import pytest

from swarmproxy.discovery import static
from swarmproxy.discovery.memory import MemoryStore
from swarmproxy.discovery.static import STATIC, MemberFile, expand, member_id, read_entries, sync
from swarmproxy.discovery.store import Put
from swarmproxy.model import codec, keys
from swarmproxy.model.records import Member


@pytest.mark.parametrize(
    ("pattern", "expect"),
    [
        ("h:1", ["h:1"]),
        ("10.0.0.[1:3]:2375", ["10.0.0.1:2375", "10.0.0.2:2375", "10.0.0.3:2375"]),
        ("n[08:11]", ["n08", "n09", "n10", "n11"]),
        ("[1:2].[5:6]", ["1.5", "1.6", "2.5", "2.6"]),
        ("[::1]:2375", ["[::1]:2375"]),
        ("x[7:7]", ["x7"]),
    ],
)
def test_expand(pattern: str, expect: list[str]) -> None:
    assert expand(pattern) == expect


@pytest.mark.parametrize("pattern", ["[3:1]", "[1:20000]", "[0:999][0:999]"])
def test_expand_refuses(pattern: str) -> None:
    with pytest.raises(ValueError):
        expand(pattern)


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("h1", "http://h1:2375"),
        ("H1:9", "http://h1:9"),
        ("tcp://h1:9", "http://h1:9"),
        ("https://h1", "https://h1:2376"),
        ("http://[fe80::1]:9", "http://[fe80::1]:9"),
        ("[::1]", "http://[::1]:2375"),
        ("unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
        ("relay://h1:4000", "relay://h1:4000"),
    ],
)
def test_addresses(entry: str, address: str) -> None:
    (member,) = read_entries([entry])
    assert member == Member(id=member_id(address), address=address, source=STATIC)


def test_scheme_is_for_those_without_one() -> None:
    found = read_entries(["h1", "tcp://h2:5", "http://h3"], scheme="https")
    assert [member.address for member in found] == ["https://h1:2376", "https://h2:5", "http://h3:2375"]


@pytest.mark.parametrize("entry", ["h:0", "h:port", ":2375", "ftp://h", "unix://", "h name", "h name=", "h label.=x",
                                   "[1:2] name=n", "h/path"])  # fmt: skip
def test_bad_entries_are_named(entry: str) -> None:
    with pytest.raises(ValueError, match=r"^" + entry[:1].replace("[", r"\[")):
        read_entries(["ok:1", entry])


def test_options_comments_and_doubles() -> None:
    lines = [
        "# all of them",
        "",
        "db:1 name=base label.disk=ssd label.empty= # the database",
        "db:1",
        "  web[1:2]:1  label.a=b=c",
    ]
    found = read_entries(lines)
    assert [(member.address, member.name, member.labels) for member in found] == [
        ("http://db:1", "base", {"disk": "ssd", "empty": ""}),
        ("http://web1:1", "", {"a": "b=c"}),
        ("http://web2:1", "", {"a": "b=c"}),
    ]


async def held(store: MemoryStore) -> dict[str, Member]:
    _, found = await store.list(keys.NODES)
    members = [codec.decode(Member, kv.value) for kv in found]
    return {member.address: member for member in members if member}


async def test_sync_adds_changes_and_removes_what_is_the_lists() -> None:
    store = MemoryStore()
    joined = Member(id="j", address="http://joined:1")
    await store.txn([], [Put(keys.node("j"), codec.encode(joined)), Put(keys.node("garbage"), b"{")])
    await sync(store, read_entries(["a", "b name=bee", "c"]))
    assert set(await held(store)) == {"http://joined:1", "http://a:2375", "http://b:2375", "http://c:2375"}

    # Somebody drains a and the engine tells its name; a newer version adds a field.
    a = keys.node(member_id("http://a:2375"))
    record = msgspec.json.decode(codec.encode((await held(store))["http://a:2375"]))
    record |= {"name": "alpha", "availability": "drain", "future": 1}
    await store.txn([], [Put(a, msgspec.json.encode(record))])
    revision = store.revision
    await sync(store, read_entries(["a", "b name=bee", "c"]))
    assert store.revision == revision  # nothing to say, nothing written

    await sync(store, read_entries(["a label.x=y", "b name=bee"]))
    members = await held(store)
    assert set(members) == {"http://joined:1", "http://a:2375", "http://b:2375"}
    member = members["http://a:2375"]
    assert (member.name, member.availability, member.labels) == ("alpha", "drain", {"x": "y"})
    kv = await store.get(a)
    assert kv is not None and b'"future":1' in kv.value
    assert members["http://b:2375"].name == "bee"
    assert await store.get(keys.node("garbage")) is not None


async def test_sync_of_many_is_split() -> None:
    store = MemoryStore()
    await sync(store, read_entries(["10.0.[0:3].[1:100]:1"]))
    assert len(await held(store)) == 400
    await sync(store, read_entries(["10.0.0.1:1"]))
    assert len(await held(store)) == 1


async def test_a_file_is_followed_and_an_error_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static, "INTERVAL", 0.005)
    caplog.set_level("INFO")
    path = tmp_path / "nodes"
    path.write_text("a:1\n")
    file = MemberFile(path)
    store = MemoryStore()
    await sync(store, file.read())
    task = asyncio.create_task(file.run(store))

    async def until_members(*addresses: str) -> None:
        end = time.monotonic() + 5
        while set(await held(store)) != set(addresses):
            assert time.monotonic() < end
            await asyncio.sleep(0.002)

    async def until_logged(text: str) -> None:
        end = time.monotonic() + 5
        while text not in caplog.text:
            assert time.monotonic() < end
            await asyncio.sleep(0.002)

    try:
        path.write_text("a:1\nb:[1:2]\n")
        await until_members("http://a:1", "http://b:1", "http://b:2")
        path.write_text("a:1\nb:one\n")
        await until_logged("b:one: not host:port; the members stay as they were")
        path.unlink()
        await until_logged("No such file")
        await until_members("http://a:1", "http://b:1", "http://b:2")
        new = tmp_path / "new"
        new.write_text("c:1\n")
        new.replace(path)
        await until_members("http://c:1")
        await until_logged("readable again")
        path.write_text("")
        await until_members()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
