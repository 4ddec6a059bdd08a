"""Engines that hold things already, and things made behind our back: nothing is lost, nothing is merged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from swarmproxy.discovery.store import Delete, Put
from swarmproxy.lifecycle import adopt, objects
from swarmproxy.model import keys, options
from swarmproxy.model.codec import encode
from swarmproxy.model.records import Alloc, Name
from tests.unit.protocol.pair import HELD, Pair, two_proxies, until

BODY = {"Image": "busybox:latest", "Cmd": ["sleep", "1000"], "HostConfig": {"Binds": ["data:/d"]}}


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "ROUND_SECONDS", 0.02)
    monkeypatch.setattr(objects, "SETTLED_SECONDS", 0.05)
    monkeypatch.setattr(adopt, "RETRY_SECONDS", 0.05)


async def fill(pair: Pair) -> None:
    """The same names on both; node-2's container is the older one, and its engine the slower one."""
    for number in (2, 1):
        pair.engines[number - 1].add_image("app:1", variant=str(number))
        assert (await pair.behind(number, "POST", "/networks/create", {"Name": "net"})).status == 201
        body = {**BODY, "HostConfig": {**BODY["HostConfig"], "NetworkMode": "net"}}  # type: ignore[dict-item]
        assert (await pair.behind(number, "POST", "/containers/create", body, name="web")).status == 201
    older, newer = pair.engines[1].container("web"), pair.engines[0].container("web")
    older.created = newer.created - 10 * 10**9
    pair.engines[1].delay(0.1, "GET", "/containers/json", times=2)  # who is heard first does not decide


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with two_proxies(tmp_path, fill) as made:
        await until(lambda: len(made.proxies[0].records.networks) == 2, "networks adopted")
        await made.in_order()
        yield made


def ids(pair: Pair) -> dict[str, str]:
    return {f"node-{number}": engine.container("web").id for number, engine in enumerate(pair.engines, 1)}


async def shown(pair: Pair, to: int) -> dict[str, str]:
    """Id → name."""
    listed = (await pair.ask("GET", "/containers/json?all=1", to=to)).body
    return {one["Id"]: one["Names"][0] for one in listed}


async def test_the_oldest_container_owns_the_plain_name(pair: Pair) -> None:
    held = ids(pair)
    for proxy in (1, 2):
        assert await shown(pair, proxy) == {held["node-2"]: "/web", held["node-1"]: "/node-1/web"}
        for reference, node in (("web", "node-2"), ("node-2/web", "node-2"), ("node-1/web", "node-1")):
            inspected = (await pair.ask("GET", f"/containers/{reference}/json", to=proxy)).body
            assert (inspected["Id"], inspected["Node"]["Name"]) == (held[node], node)
        assert (await pair.ask("GET", "/containers/node-1/web/json", to=proxy)).body["Name"] == "/node-1/web"
        warnings = (await pair.ask("GET", "/info", to=proxy)).body["Warnings"]
        assert "WARNING: node-1: names that another node holds too: node-1/web" in warnings


async def test_the_others_obey_under_their_long_name(pair: Pair) -> None:
    for method, path, status in (
        ("POST", "/containers/node-1/web/start", 204),
        ("GET", "/containers/node-1/web/logs?stdout=1", 200),
        ("GET", "/containers/node-1/web/top", 200),
        ("POST", "/containers/node-1/web/stop?t=0", 204),
        ("DELETE", "/containers/node-1/web", 204),
    ):
        answer = await pair.ask(method, path)
        assert answer.status == status, (path, answer.body)
    assert not pair.engines[0].containers
    assert len(pair.engines[1].containers) == 1
    await pair.in_order()


async def test_the_plain_name_moves_when_it_falls_free(pair: Pair) -> None:
    held = ids(pair)
    assert (await pair.ask("DELETE", "/containers/web")).status == 204
    for proxy in (1, 2):
        await until(lambda proxy=proxy: pair.proxies[proxy - 1].view.find("web"), "the name has moved")
        assert await shown(pair, proxy) == {held["node-1"]: "/web"}
    await pair.in_order()
    assert not [line for line in (await pair.ask("GET", "/info")).body["Warnings"] if "names that" in line]


async def test_a_new_container_cannot_take_a_name_that_is_held_twice(pair: Pair) -> None:
    refused = await pair.create("web")
    assert refused.status == 409
    assert refused.message.startswith(
        f'Conflict. The container name "/web" is already in use by container "{ids(pair)["node-2"]}"'
    )


async def test_volumes_networks_and_tags_are_never_merged(pair: Pair) -> None:
    owner = (await pair.stored("volumes/"))["volumes/data"]["owner"]
    other = {"N1": "node-2", "N2": "node-1"}[owner]
    home = {one["home"] for one in (await pair.stored("networks/")).values()}
    assert home == {"N1", "N2"}
    for proxy in (1, 2):
        volumes = {one["Name"] for one in (await pair.ask("GET", "/volumes", to=proxy)).body["Volumes"]}
        assert volumes == {"data", f"{other}/data"}
        networks = {one["Name"] for one in (await pair.ask("GET", "/networks", to=proxy)).body}
        assert len(networks) == 5
        assert {"net"} < {name for name in networks if name.endswith("net")} < {"net", "node-1/net", "node-2/net"}
        tags = sorted(tag for one in (await pair.ask("GET", "/images/json", to=proxy)).body for tag in one["RepoTags"])
        assert [tag for tag in tags if tag.endswith("app:1")] in (["app:1", "node-1/app:1"], ["app:1", "node-2/app:1"])
    assert (await pair.ask("DELETE", f"/volumes/{other}/data")).status == 409  # in use there
    assert (await pair.ask("GET", f"/volumes/{other}/data")).status == 200


async def test_data_and_network_keep_a_new_container_where_they_are(pair: Pair) -> None:
    owner = (await pair.stored("volumes/"))["volumes/data"]["owner"]
    for proxy in (1, 2):
        made = await pair.create(f"user-{proxy}", to=proxy, HostConfig={"Binds": ["data:/d"]})
        assert made.status == 201
        assert made.body["Id"] in pair.containers()[owner]
        plain = (await pair.ask("GET", "/networks/net", to=proxy)).body
        home = (await pair.stored("networks/"))[f"networks/{plain['Id']}"]["home"]
        made = await pair.create(f"peer-{proxy}", to=proxy, HostConfig={"NetworkMode": "net"})
        assert made.body["Id"] in pair.containers()[home]


async def test_what_is_made_behind_our_back_gets_its_claim(pair: Pair) -> None:
    host = {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}, "Memory": 64 << 20}
    body = {"Image": "busybox:latest", "ExposedPorts": {"80/tcp": {}}, "HostConfig": host}
    made = (await pair.behind(1, "POST", "/containers/create", body, name="stray")).body["Id"]
    await pair.in_order()
    (alloc,) = [one for one in (await pair.stored("alloc/")).values() if one["container"] == made]
    assert (alloc["name"], alloc["memory"], [one["port"] for one in alloc["ports"]]) == ("stray", 64 << 20, [8080])
    assert (await pair.create("stray", to=2)).status == 409
    await pair.behind(1, "POST", "/containers/stray/rename", name="found")
    await until(lambda: pair.proxies[1].records.claim("found"), "the claim follows the engine's name")
    await pair.in_order()
    assert (await pair.create("stray", to=2)).status == 201
    await pair.behind(1, "DELETE", "/containers/found")
    await pair.in_order()
    assert "names/found" not in await pair.stored(*HELD)


async def test_a_token_counts_only_with_its_container(pair: Pair) -> None:
    """Commit copies labels: another container with the token of one that is claimed gets a claim of its own."""
    assert (await pair.create("first")).status == 201
    (token,) = [key for key, one in (await pair.stored("alloc/")).items() if one["name"] == "first"]
    labels = {options.LABEL_TOKEN: token.split("/")[-1]}
    for number in (1, 2):
        body: dict[str, Any] = {"Image": "busybox:latest", "Labels": labels}
        made = await pair.behind(number, "POST", "/containers/create", body, name=f"copy-{number}")
        assert made.status == 201
    await pair.in_order()
    names = {one["name"] for one in (await pair.stored("alloc/")).values()}
    assert names >= {"first", "copy-1", "copy-2"}
    assert (await pair.ask("DELETE", "/containers/copy-1")).status == 204
    await pair.in_order()
    assert (await pair.create("first", to=2)).status == 409


async def test_two_proxies_adopt_at_once(pair: Pair) -> None:
    names = [f"many-{number}" for number in range(30)]
    body = {"Image": "busybox:latest"}
    await asyncio.gather(
        *(
            pair.behind(number % 2 + 1, "POST", "/containers/create", body, name=name)
            for number, name in enumerate(names)
        )
    )
    await pair.in_order()
    stored = await pair.stored(*HELD)
    assert {f"names/{name}" for name in names} < set(stored)
    assert len([key for key in stored if key.startswith("alloc/")]) == len(names) + 2
    filters = json.dumps({"name": ["many-"]})
    assert len((await pair.ask("GET", "/containers/json", all=1, filters=filters)).body) == len(names)


async def test_a_container_that_goes_with_its_claim_while_it_is_adopted(pair: Pair) -> None:
    """Its creator binds it and removes it between our two looks at the store: we must not claim what is no more."""
    pair.stores[1].unavailable = True
    await until(lambda: pair.proxies[1].cache.lost_since is not None, "only one proxy adopts")
    view, token = pair.proxies[0].view, "ab" * 16
    alloc, name = keys.alloc("N1", token), keys.name("brief")

    async def bind() -> None:
        stop()
        held = Alloc(name="brief", state="bound", container=made)
        await pair.store.txn([], [Put(alloc, encode(held)), Put(name, encode(Name(token=token, node="N1")))])

    async def remove() -> None:
        end()
        await pair.behind(1, "DELETE", f"/containers/{made}")
        await until(lambda: made not in view.nodes["N1"].containers, "the proxy knows that it is gone")
        await asyncio.sleep(0.1)  # and has looked for a claim to release
        await pair.store.txn([], [Delete(alloc), Delete(name)])

    stop, end = pair.stores[0].before("txn", bind), pair.stores[0].after("txn", remove)
    body = {"Image": "busybox:latest", "Labels": {options.LABEL_TOKEN: token}}
    made = (await pair.behind(1, "POST", "/containers/create", body, name="brief")).body["Id"]
    await until(lambda: made not in pair.containers()["N1"], "looked at and gone")
    await pair.behind(1, "POST", "/containers/create", {"Image": "busybox:latest"}, name="next")
    await until(lambda: pair.proxies[0].records.claim("next"), "adoption has gone on to the next")
    await pair.in_order(0)
    assert not {alloc, name} & set(await pair.stored(*HELD))


def stale_tag(pair: Pair, tag: str) -> Any:
    """A node that still lists a tag which its engine does not have any more."""
    node = next(iter(pair.proxies[0].view.nodes.values()))
    image_id, listed = next(iter(node.images.items()))
    node.images[image_id] = {**listed, "RepoTags": [*listed["RepoTags"], tag]}
    return node


async def test_a_tag_that_was_just_removed_gets_no_meaning_from_an_old_list(pair: Pair) -> None:
    node = stale_tag(pair, "ghost:1")
    await objects.Objects(pair.proxies[0].cluster)._images(node)
    assert keys.image("ghost:1") not in await pair.stored(keys.IMAGES)


async def test_a_tag_that_is_removed_while_it_is_adopted_loses_its_meaning_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, view = stale_tag(pair, "ghost:1"), pair.proxies[0].view
    true_list, asked = view.refresh_images, 0

    async def late(node_id: str) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:  # the first answer was on its way before the removal
            await true_list(node_id)

    monkeypatch.setattr(view, "refresh_images", late)
    await objects.Objects(pair.proxies[0].cluster)._images(node)
    assert asked == 2
    assert keys.image("ghost:1") not in await pair.stored(keys.IMAGES)
