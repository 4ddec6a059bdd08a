"""A proxy that dies, or a step that fails, at each point of a saga: nothing half done stays, others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from swarmproxy.cluster.records import Held
from swarmproxy.discovery.store import Delete
from swarmproxy.lifecycle import context
from swarmproxy.lifecycle.gc import Collector
from swarmproxy.model import keys
from swarmproxy.model.records import Alloc
from swarmproxy.testing import volumes
from tests.unit.protocol.pair import Pair, Reply, two_proxies, until

CREATE = "image plan claim networks volumes engine bind refresh".split()
RENAME = "claim engine bind refresh".split()
NETWORKS = ("networks/", "netnames/", "vni/", "subnets/", "netnodes/")
BODY: dict[str, Any] = {
    "HostConfig": {
        "Binds": ["fresh:/fresh", "kept:/kept"],
        "PortBindings": {"80/tcp": [{"HostPort": "8080"}]},
        "NetworkMode": "front",
    },
    "ExposedPorts": {"80/tcp": {}},
}
"""A network, a volume that is made with it, one that was made before, a port: all that a create can hold."""


def points(saga: str, steps: list[str]) -> list[str]:
    return [f"{saga}.{step}.{side}" for step in steps for side in ("before", "after")]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with two_proxies(tmp_path) as made:
        assert (await made.ask("POST", "/networks/create", {"Name": "front"})).status == 201
        assert (await made.ask("POST", "/volumes/create", {"Name": "kept", "Labels": {"a": "b"}})).status == 201
        yield made


async def owners(pair: Pair) -> dict[str, str]:
    return {key.split("/")[1]: one.get("owner", "") for key, one in (await pair.stored("volumes/")).items()}


def allocs(pair: Pair) -> list[Held[Alloc]]:
    """As the second proxy knows them."""
    return [held for tokens in pair.proxies[1].records.allocs.values() for held in tokens.values()]


async def taken_or_made(pair: Pair, answer: Reply, name: str) -> None:
    """A retry either went through or met the name's rightful holder."""
    if answer.status == 409:
        assert answer.message.startswith(f'Conflict. The container name "/{name}" is already in use by container "')
    else:
        assert answer.status == 201, answer.body
    await pair.in_order()
    assert [name for held in pair.containers().values() for name in held.values()] == [name]
    assert (await pair.ask("GET", f"/containers/{name}/json", to=2)).status == 200


@pytest.mark.parametrize("point", points("create", CREATE))
async def test_a_proxy_dies_while_it_creates(pair: Pair, point: str) -> None:
    crash = pair.crash_at(point)
    assert (await pair.create("web", **BODY)).status >= 500
    assert crash.hits == 1
    again = asyncio.create_task(pair.create("web", to=2, **BODY))  # at once, while the dead one's lease lives
    await asyncio.sleep(0.05)
    await pair.expire()
    await taken_or_made(pair, await again, "web")


@pytest.mark.parametrize("point", points("create", CREATE))
async def test_a_step_of_create_fails(pair: Pair, point: str) -> None:
    pair.fail_at(point)
    failed = await pair.create("web", **BODY)
    assert (failed.status, failed.body) == (500, {"message": f"failpoint {point}"})
    await pair.empty(0)  # already: the undo ran before the answer
    assert await owners(pair) == {"kept": ""}
    assert not any("fresh" in engine.daemon.volumes for engine in pair.engines)
    made = await pair.create("web", to=2, **BODY)
    assert made.status == 201, made.body
    await pair.in_order()
    assert set(await owners(pair)) == {"kept", "fresh"}


@pytest.mark.parametrize("point", points("create", CREATE)[5:])
async def test_nobody_tries_again(pair: Pair, point: str) -> None:
    pair.crash_at(point)
    await pair.create("web", **BODY)
    await pair.expire()
    await pair.in_order()
    data = {name: f"N{number}" for number, engine in enumerate(pair.engines, 1) for name in engine.daemon.volumes}
    await until(lambda: all(held.value.state == "bound" for held in allocs(pair)), "the proxy has seen the lease end")
    sweeper = Collector(pair.proxies[1].cluster)
    for _ in range(2):
        await sweeper.sweep()
    assert await owners(pair) == {"kept": ""} | data
    await pair.in_order(0)


async def test_data_that_was_there_before_outlives_a_failed_create(pair: Pair) -> None:
    for engine in pair.engines:  # a name that two nodes have is nobody's until it is adopted
        volumes.create(engine.daemon, "old")
    await until(lambda: all("old" in node.volumes for node in pair.proxies[0].view.nodes.values()), "volumes listed")
    pair.fail_at("create.bind.before")
    assert (await pair.create("web", HostConfig={"Binds": ["old:/old"]})).status == 500
    assert all("old" in engine.daemon.volumes for engine in pair.engines)


async def pair_with_web(pair: Pair) -> str:
    made = await pair.create("web")
    assert made.status == 201
    await until(lambda: pair.proxies[1].view.find("web"), "the other proxy knows it")
    return str(made.body["Id"])


@pytest.mark.parametrize("point", points("rename", RENAME))
async def test_a_proxy_dies_while_it_renames(pair: Pair, point: str) -> None:
    container = await pair_with_web(pair)
    crash = pair.crash_at(point)
    await pair.ask("POST", "/containers/web/rename", name="shop")
    assert crash.hits == 1
    await pair.expire()
    (called,) = [name for held in pair.containers().values() for name in held.values()]
    assert called == ("web" if point in points("rename", RENAME)[:3] else "shop")
    await named(pair, container, called)
    again = await pair.ask("POST", f"/containers/{container}/rename", to=2, name="shop")
    assert again.status == (204 if called == "web" else 400), again.body
    await named(pair, container, "shop")


@pytest.mark.parametrize("point", points("rename", RENAME)[:3])
async def test_a_step_of_rename_fails(pair: Pair, point: str) -> None:
    container = await pair_with_web(pair)
    pair.fail_at(point)
    assert (await pair.ask("POST", "/containers/web/rename", name="shop")).message == f"failpoint {point}"
    assert set(await pair.stored("names/")) == {"names/web"}
    await named(pair, container, "web")


@pytest.mark.parametrize("point", points("rename", RENAME)[3:])
async def test_a_rename_that_the_engine_has_done_stands(pair: Pair, point: str) -> None:
    """Whatever fails later: claim and engine agree in the end."""
    container = await pair_with_web(pair)
    pair.fail_at(point)
    assert (await pair.ask("POST", "/containers/web/rename", name="shop")).status == 500
    await named(pair, container, "shop")


async def named(pair: Pair, container: str, name: str) -> None:
    """Both proxies and the store call the container so."""
    for proxy in pair.proxies if not pair.stores[0].unavailable else pair.proxies[1:]:
        await until(lambda proxy=proxy: getattr(proxy.view.find(name), "id", "") == container, f"found as {name}")
    end = asyncio.get_running_loop().time() + 5
    while set(await pair.stored("names/")) != {f"names/{name}"}:
        assert asyncio.get_running_loop().time() < end, await pair.stored("names/", "alloc/")
        await asyncio.sleep(0.01)
    await pair.in_order()
    (alloc,) = (await pair.stored("alloc/")).values()
    assert alloc["name"] == name


@pytest.mark.parametrize("agents", [True, False], ids=["agents", "alone"])
@pytest.mark.parametrize("point", points("network", ["claim", "engine"]))
async def test_a_step_of_network_create_fails(
    pair: Pair, point: str, agents: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not agents:
        monkeypatch.setattr(context, "AGENT_SECONDS", 0)  # they are not waited for
        await pair.store.txn([], [Delete(keys.agent("N1")), Delete(keys.agent("N2"))])
        nodes = pair.proxies[0].view.nodes
        await until(lambda: not any(node.agent_alive for node in nodes.values()), "agents gone")
    before = await pair.stored(*NETWORKS)
    pair.fail_at(point)
    made = await pair.ask("POST", "/networks/create", {"Name": "back"})
    if agents and ".engine." in point:  # nothing is made on an engine yet
        assert made.status == 201
        return
    assert made.message == f"failpoint {point}"
    assert await pair.stored(*NETWORKS) == before
    assert not any(one.name == "back" for engine in pair.engines for one in engine.daemon.networks.values())


@pytest.mark.parametrize("point", points("network", ["claim"]))
async def test_a_proxy_dies_while_it_makes_a_network(pair: Pair, point: str) -> None:
    pair.crash_at(point)
    assert (await pair.ask("POST", "/networks/create", {"Name": "back"})).status == 500
    await pair.expire()
    again = await pair.ask("POST", "/networks/create", {"Name": "back"}, to=2)
    assert again.status == (201 if point.endswith("before") else 409)
    made = await pair.create("web", to=2, HostConfig={"NetworkMode": "back"})
    assert made.status == 201, made.body
    assert (await pair.ask("DELETE", "/containers/web", to=2)).status == 204
    assert (await pair.ask("DELETE", "/networks/back", to=2)).status == 204
    assert not [key for key in await pair.stored(*NETWORKS) if "front" not in key and "back" in key]
