"""From a URL to a store, and the verb that lists members."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path

import pytest

from swarmproxy.cli import list as list_verb
from swarmproxy.discovery import static
from swarmproxy.discovery.etcd import EtcdStore
from swarmproxy.discovery.open import LOCAL, DiscoveryError, open_discovery
from swarmproxy.discovery.store import StoreError
from swarmproxy.model import codec, keys
from swarmproxy.model.records import Member


async def addresses(url: str | None, state: Path) -> list[str]:
    discovery = await open_discovery(url, state=state)
    try:
        assert not discovery.shared
        _, found = await discovery.store.list(keys.NODES)
        members = [codec.decode(Member, kv.value) for kv in found]
        assert all(member and kv.key == keys.node(member.id) for member, kv in zip(members, found, strict=True))
        return sorted(member.address for member in members if member)
    finally:
        await discovery.close()


async def test_nothing_is_the_local_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    assert await addresses(None, tmp_path) == [LOCAL]
    assert await addresses("", tmp_path) == [LOCAL]


async def test_lists_replace_one_another_in_the_same_state(tmp_path: Path) -> None:
    assert await addresses("nodes://a:1,b:[1:2]", tmp_path) == ["http://a:1", "http://b:1", "http://b:2"]
    assert await addresses("a:1", tmp_path) == ["http://a:1"]
    (tmp_path / "nodes").write_text("c:1\n")
    assert await addresses(f"file://{tmp_path}/nodes", tmp_path) == ["http://c:1"]
    assert await addresses(None, tmp_path) == [LOCAL]


async def test_a_file_is_kept_up_by_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "INTERVAL", 0.01)
    path = tmp_path / "nodes"
    path.write_text("a:1\n")
    discovery = await open_discovery(f"file://{path}", state=tmp_path)
    assert discovery.kind == "file"
    _, found = await discovery.store.list(keys.NODES)
    watch = discovery.store.watch(keys.NODES, max(kv.mod_revision for kv in found))
    task = asyncio.create_task(discovery.run())
    path.write_text("a:1\nb:1\n")
    batch = await asyncio.wait_for(anext(watch), 5)
    assert [event.kind for event in batch.events] == ["put"]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await discovery.close()


async def test_one_proxy_owns_an_embedded_store(tmp_path: Path) -> None:
    first = await open_discovery(None, state=tmp_path)
    with pytest.raises(StoreError, match="one proxy may own an embedded store; for more use etcd://"):
        await open_discovery("nodes://a:1", state=tmp_path)
    await first.close()


@pytest.mark.parametrize(
    ("url", "targets", "root"),
    [
        ("etcd://127.0.0.1", ["127.0.0.1:2379"], "/swarmproxy/v1/"),
        ("etcd://localhost:1,[::1]:2,127.0.0.2/", ["localhost:1", "[::1]:2", "127.0.0.2:2379"], "/swarmproxy/v1/"),
        ("etcd://localhost/a/b/", ["localhost:2379"], "/a/b/swarmproxy/v1/"),
    ],
)
async def test_etcd(url: str, targets: list[str], root: str, tmp_path: Path) -> None:
    discovery = await open_discovery(url, state=tmp_path)
    try:
        assert (discovery.kind, discovery.shared) == ("etcd", True)
        assert isinstance(discovery.store, EtcdStore)
        assert [endpoint.target for endpoint in discovery.store._cluster._all] == targets
        assert discovery.store._root == root.encode()
    finally:
        await discovery.close()


async def test_plain_text_beyond_this_machine_is_said_aloud(tmp_path: Path) -> None:
    with pytest.raises(DiscoveryError, match="--insecure"):
        await open_discovery("etcd://127.0.0.1,10.0.0.1", state=tmp_path)
    await (await open_discovery("etcd://10.0.0.1", state=tmp_path, insecure=True)).close()
    await (await open_discovery("etcds://10.0.0.1", state=tmp_path)).close()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("consul://h", "not supported"),
        ("redis://h", "not a discovery URL"),
        ("nodes://", "names no member"),
        ("nodes://a:b:c", "not host:port"),
        ("file:///does/not/exist", "No such file"),
        ("etcd://", "no host"),
        ("etcd://127.0.0.1:x", "not host:port"),
        ("etcd://user@127.0.0.1", "not host:port"),
        ("etcd://127.0.0.1?ca=/x", "etcds://"),
        ("etcds://h?ca=/does/not/exist", "No such file"),
        ("etcds://h?cert=/x", "belong together"),
        ("etcds://h?kee=/x", "unknown option kee"),
    ],
)
async def test_bad_urls_are_explained(url: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(DiscoveryError, match=text):
        await open_discovery(url, state=tmp_path)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    list_verb.add_arguments(parser)
    return parser.parse_args(words)


def test_list_prints_an_address_a_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert list_verb.run(arguments("nodes://a:[1:2]", "--timeout", "10s")) == 0
    assert capsys.readouterr().out == "http://a:1\nhttp://a:2\n"
    (tmp_path / "nodes").write_text("b:1 name=b\n")
    assert list_verb.run(arguments(f"file://{tmp_path}/nodes")) == 0
    assert capsys.readouterr().out == "http://b:1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["nodes"]


def test_list_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_verb.run(arguments("etcd://10.0.0.1")) == 1
    assert "--insecure" in capsys.readouterr().err
    assert list_verb.run(arguments("etcd://127.0.0.1:9", "--timeout", "200ms")) == 1
    assert "no answer within 0.2 s" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        arguments("nodes://a:1", "--timeout", "soon")
