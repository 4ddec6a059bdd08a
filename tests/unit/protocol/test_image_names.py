"""Removing a name of an image: that name alone goes, whatever a proxy believes about the others."""

from __future__ import annotations

import pytest

from tests.unit.protocol.pair import Pair

BUSYBOX = "busybox:latest"


async def engine_tags(pair: Pair, node: int) -> set[str]:
    listed = (await pair.behind(node, "GET", "/images/json")).body
    return {tag for one in listed for tag in one["RepoTags"] or ()}


def forget_tag(pair: Pair, tag: str) -> None:
    """The second proxy has not heard of the tag on its first node yet."""
    node = next(one for one in pair.proxies[1].view.nodes.values() if one.name == "node-1")
    for listed in node.images.values():
        listed["RepoTags"] = [each for each in listed["RepoTags"] or () if each != tag]


async def tagged(pair: Pair, tag: str) -> None:
    repo, _, label = tag.partition(":")
    assert (await pair.ask("POST", f"/images/busybox/tag?repo={repo}&tag={label}", to=1)).status == 201
    assert all([tag in await engine_tags(pair, node) for node in (1, 2)])


async def test_a_name_that_a_proxy_has_not_heard_of_on_a_node_goes_there_too(pair: Pair) -> None:
    await tagged(pair, "mine:2")
    forget_tag(pair, "mine:2")
    reply = await pair.ask("DELETE", "/images/mine:2", to=2)
    assert (reply.status, reply.body) == (200, [{"Untagged": "mine:2"}])
    for node in (1, 2):
        assert BUSYBOX in (left := await engine_tags(pair, node)) and "mine:2" not in left


async def test_an_engine_never_loses_other_names_to_a_forced_removal(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tagged(pair, "mine:2")

    async def late(node_id: str) -> None:
        return None

    monkeypatch.setattr(pair.proxies[1].view, "refresh_images", late)  # its lists stay old
    forget_tag(pair, "mine:2")
    assert (await pair.ask("DELETE", "/images/mine:2?force=1", to=2)).status == 200
    assert BUSYBOX in await engine_tags(pair, 1)


async def test_a_name_of_one_node_alone_goes_from_that_node(pair: Pair) -> None:
    await tagged(pair, "kept:1")
    reply = await pair.ask("DELETE", f"/images/node-1/{BUSYBOX}", to=1)
    assert (reply.status, reply.body) == (200, [{"Untagged": BUSYBOX}])
    assert "kept:1" in (left := await engine_tags(pair, 1)) and BUSYBOX not in left
    assert {BUSYBOX, "kept:1"} <= await engine_tags(pair, 2)
