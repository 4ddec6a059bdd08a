"""An engine that dies or hangs in the middle of things: who is told what, and what is left when it comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarmproxy.cluster import health
from swarmproxy.testing import SimEngine
from swarmproxy.testing.faults import Call
from tests.unit.protocol.pair import Pair, two_proxies, until

AT = {"Env": ["constraint:node==node-1"]}
LISTS = ("/containers/json?all=1", "/info", "/images/json", "/networks", "/volumes", "/nodes", "/version")


@pytest.fixture
async def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    monkeypatch.setattr(health, "EAGER", 0.02)  # found again soon
    async with two_proxies(tmp_path) as made:
        yield made


async def down(pair: Pair, node: str = "N1") -> None:
    await until(lambda: not any(proxy.view.nodes[node].healthy for proxy in pair.proxies), "found down")


async def back(pair: Pair, node: str = "N1") -> None:
    await until(lambda: all(proxy.view.nodes[node].healthy for proxy in pair.proxies), "healthy by itself")


def dies_with(engine: SimEngine, path: str) -> list[asyncio.Task[None]]:
    """The engine does what the next POST asks, and is gone before it can say so."""
    deaths: list[asyncio.Task[None]] = []

    def die(call: Call) -> bool:
        deaths.append(asyncio.ensure_future(engine.refuse()))
        return True

    fault = engine.lose("POST", path)
    fault.match = die
    return deaths


async def test_an_answer_that_is_lost_leaves_no_container(pair: Pair) -> None:
    pair.engines[0].lose("POST", "/containers/create")
    lost = await pair.create("web", **AT)
    assert lost.status == 503
    assert lost.message.startswith("Cannot connect to the Docker daemon at tcp://127.0.0.1:")
    assert lost.message.endswith("(node-1: connection closed before an answer)"), lost.message
    await pair.empty(0)
    assert (await pair.create("web", **AT)).status == 201


async def test_an_engine_that_dies_with_a_create_gives_the_container_up_when_it_is_back(pair: Pair) -> None:
    engine = pair.engines[0]
    deaths = dies_with(engine, "/containers/create")
    lost = await pair.create("web", **AT)
    assert lost.status == 503
    assert "node-1: " in lost.message
    await asyncio.gather(*deaths)
    assert [one.name for one in engine.containers.values()] == ["web"]
    assert not await pair.stored("names/", "alloc/")
    await down(pair)
    await engine.restart()
    await back(pair)
    await until(lambda: not engine.containers, "the container is given up")
    await pair.empty()


async def test_its_name_is_free_at_once_for_another_node(pair: Pair) -> None:
    engine = pair.engines[0]
    deaths = dies_with(engine, "/containers/create")
    assert (await pair.create("web", **AT)).status == 503
    await asyncio.gather(*deaths)
    made = await pair.create("web", to=2)
    assert made.status == 201, made.body
    await engine.restart()
    await back(pair)
    await until(lambda: not engine.containers, "the container is given up")
    await pair.in_order()
    assert (await pair.ask("GET", "/containers/web/json")).body["Id"] == made.body["Id"]


async def test_a_container_that_was_started_meanwhile_is_nobodys_to_give_up(pair: Pair) -> None:
    """Its creator was told of a failure, but somebody else has found it and uses it."""
    engine = pair.engines[0]
    deaths = dies_with(engine, "/containers/create")
    assert (await pair.create("web", **AT)).status == 503
    await asyncio.gather(*deaths)
    await down(pair)
    (container,) = engine.containers.values()
    container.status = "running"
    await engine.restart()
    await back(pair)
    await pair.in_order()
    assert (await pair.ask("GET", "/containers/web/json", to=2)).body["Id"] == container.id


async def test_an_engine_that_dies_between_create_and_start(pair: Pair) -> None:
    made = await pair.create("web", **AT)
    await pair.engines[0].refuse()
    first = await pair.ask("POST", "/containers/web/start")
    await down(pair)
    began = time.monotonic()
    second = await pair.ask("POST", "/containers/web/start")
    assert time.monotonic() - began < 0.1
    address = pair.engines[0].docker_host
    words = f"Cannot connect to the Docker daemon at {address}. Is the docker daemon running? (node-1: "
    for refused in (first, second):
        assert (refused.status, refused.message.startswith(words)) == (503, True), refused.message
    assert second.message.endswith("connection refused)")
    await pair.engines[0].restart()
    await back(pair)
    assert (await pair.ask("POST", f"/containers/{made.body['Id']}/start", to=2)).status == 204
    await pair.in_order()


@pytest.mark.parametrize("fault", ["dead", "hangs"])
async def test_lists_do_not_wait_for_it(pair: Pair, fault: str) -> None:
    for number in (1, 2):
        body = {"Env": [f"constraint:node==node-{number}"]}
        assert (await pair.create(f"web-{number}", **body)).status == 201
    if fault == "dead":
        await pair.engines[0].refuse()
        await down(pair)
    else:
        pair.engines[0].hang()
    for proxy in (1, 2):
        for path in LISTS:
            began = time.monotonic()
            answer = await pair.ask("GET", path, to=proxy)
            assert answer.status == 200
            assert time.monotonic() - began < 0.2, path
        listed = (await pair.ask("GET", "/containers/json?all=1", to=proxy)).body
        assert {one["Names"][0] for one in listed} == {"/web-1", "/web-2"}
    if fault == "dead":
        (marked,) = [one["Status"] for one in listed if one["Names"] == ["/web-1"]]
        assert marked == "Created (unreachable)"
        info = (await pair.ask("GET", "/info")).body
        assert any(line.startswith("WARNING: node-1: ") for line in info["Warnings"])
        assert info["ContainersRunning"] == 0
    pair.engines[0].resume()


async def test_what_it_lost_while_it_was_away_is_gone_when_it_is_back(pair: Pair) -> None:
    assert (await pair.create("keep", **AT)).status == 201
    assert (await pair.create("lose", **AT)).status == 201
    engine = pair.engines[0]
    await engine.refuse()
    await down(pair)
    lost = engine.container("lose")
    del engine.containers[lost.id], engine.daemon.names["lose"]
    await engine.restart()
    await until(lambda: all(proxy.view.find("lose") is None for proxy in pair.proxies), "forgotten")
    await pair.in_order()
    assert (await pair.create("lose", to=2)).status == 201


async def test_a_name_on_a_dead_engine_stays_taken(pair: Pair) -> None:
    """A dead dockerd is not a dead container."""
    made = await pair.create("web", **AT)
    await pair.engines[0].refuse()
    await down(pair)
    refused = await pair.create("web", to=2)
    assert refused.status == 409
    assert refused.message == (
        f'Conflict. The container name "/web" is already in use by container "{made.body["Id"]}". '
        "You have to remove (or rename) that container to be able to reuse that name. (node-1)"
    )
    assert (await pair.ask("DELETE", "/containers/web?force=1")).status == 503
    await pair.engines[0].restart()
    await back(pair)
    await pair.in_order()
