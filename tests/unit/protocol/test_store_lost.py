"""The store is away, at the start or later: what needs it is refused at once and says why, all else goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from swarmproxy import proxy as assembly
from swarmproxy.discovery.store import Delete, Put, Unavailable
from swarmproxy.lifecycle.gc import Collector
from swarmproxy.model import keys
from swarmproxy.model.codec import encode
from swarmproxy.model.records import Agent
from tests.unit.protocol.pair import HELD, Pair, two_proxies, until

REFUSED: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/containers/create?name=other", {"Image": "busybox:latest"}),
    ("POST", "/containers/create", {"Image": "busybox:latest"}),
    ("POST", "/containers/web/rename?name=other", None),
    ("POST", "/networks/create", {"Name": "back"}),
    ("DELETE", "/networks/front", None),
    ("POST", "/volumes/create", {"Name": "data"}),
)
GOES_ON: tuple[tuple[str, str, Any, int], ...] = (
    ("GET", "/_ping", None, 200),
    ("GET", "/version", None, 200),
    ("GET", "/info", None, 200),
    ("GET", "/containers/json?all=1", None, 200),
    ("GET", "/containers/web/json", None, 200),
    ("GET", "/containers/web/logs?stdout=1", None, 200),
    ("GET", "/containers/web/top", None, 200),
    ("GET", "/networks", None, 200),
    ("GET", "/networks/front", None, 200),
    ("GET", "/volumes", None, 200),
    ("GET", "/images/json", None, 200),
    ("GET", "/images/busybox/json", None, 200),
    ("GET", "/containers/nosuch/json", None, 404),
    ("POST", "/containers/web/exec", {"Cmd": ["true"]}, 201),
    ("POST", "/containers/web/pause", None, 204),
    ("POST", "/containers/web/unpause", None, 204),
    ("POST", "/containers/alone/restart?t=0", None, 204),
    ("POST", "/containers/alone/stop?t=0", None, 204),
    ("DELETE", "/containers/alone", None, 204),
    ("POST", "/containers/web/kill", None, 204),
    ("POST", "/containers/web/start", None, 204),
    ("POST", "/containers/web/stop?t=0", None, 204),
    ("DELETE", "/containers/web", None, 204),
)
AT_ONCE = 1.0


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with two_proxies(tmp_path) as made:
        assert (await made.ask("POST", "/networks/create", {"Name": "front"})).status == 201
        assert (await made.create("web", HostConfig={"NetworkMode": "front"})).status == 201
        assert (await made.ask("POST", "/containers/web/start")).status == 204
        yield made


async def lost(pair: Pair) -> None:
    pair.stores[0].unavailable = True
    await until(lambda: pair.proxies[0].cache.lost_since is not None, "the first proxy knows")


async def found(pair: Pair) -> None:
    pair.stores[0].unavailable = False
    await until(lambda: pair.proxies[0].cache.lost_since is None, "the first proxy is back")


async def test_what_needs_it_is_refused_and_says_why(pair: Pair) -> None:
    await lost(pair)
    for method, path, body in REFUSED:
        began = time.monotonic()
        refused = await pair.ask(method, path, body)
        assert (refused.status, refused.message) == (
            503,
            "cluster store unavailable: the store is unavailable",
        ), path
        assert time.monotonic() - began < AT_ONCE, path
    await found(pair)
    assert (await pair.create("other")).status == 201
    await pair.in_order()


async def test_all_else_goes_on(pair: Pair) -> None:
    assert (await pair.create("alone")).status == 201
    assert (await pair.ask("POST", "/containers/alone/start")).status == 204
    await lost(pair)
    for method, path, body, status in GOES_ON:
        began = time.monotonic()
        answer = await pair.ask(method, path, body)
        assert answer.status == status, (path, answer.body)
        assert time.monotonic() - began < AT_ONCE, path
    info = (await pair.ask("GET", "/info")).body
    (line,) = [line for line in info["Warnings"] if "store" in line]
    assert line.startswith("WARNING: the cluster's store is lost since 0 s (the ")
    assert line.endswith("): containers and networks cannot be created")
    await found(pair)
    assert not [line for line in (await pair.ask("GET", "/info")).body["Warnings"] if "store" in line]
    await pair.in_order()
    assert not await pair.stored(*HELD)


async def test_a_container_that_could_not_come_back_is_left_running(pair: Pair) -> None:
    """On a cluster network: the engine would stop it, and its agent could give it no address."""
    await lost(pair)
    refused = await pair.ask("POST", "/containers/web/restart?t=0")
    assert refused.status == 503
    assert refused.message.startswith("cluster store unavailable: the ")
    assert refused.message.endswith(
        " (the container would get no address on its cluster network, so it is left running)"
    )
    assert (await pair.ask("GET", "/containers/web/json")).body["State"]["Running"]
    await found(pair)
    assert (await pair.ask("POST", "/containers/web/restart?t=0")).status == 204


async def test_a_claim_that_could_not_be_released_is_swept(pair: Pair) -> None:
    """Both proxies were without the store when the container went: nobody saw it go and could say so."""
    for store in pair.stores:
        store.unavailable = True
    await until(lambda: all(one.cache.lost_since is not None for one in pair.proxies), "both know")
    assert (await pair.ask("DELETE", "/containers/web?force=1")).status == 204
    await until(lambda: not any(one.view.find("web") for one in pair.proxies), "both have forgotten it")
    assert set(await pair.stored("names/")) == {"names/web"}
    for store in pair.stores:
        store.unavailable = False
    await until(lambda: all(one.cache.lost_since is None for one in pair.proxies), "both are back")
    made = await pair.create("web", to=2)  # its name is asked after at the engine, sweep or no sweep
    assert made.status == 201, made.body
    for _ in range(2):
        await Collector(pair.proxies[0].cluster).sweep()
    await pair.in_order()


@pytest.mark.parametrize("operation", ["get", "list", "txn"])
async def test_an_answer_of_the_store_that_is_lost_leaves_nothing(pair: Pair, operation: Any) -> None:
    """The store did what it was asked, and nobody was told."""
    for again in range(1, 8):
        pair.stores[0].lose(operation, 1)
        made = await pair.create("other", HostConfig={"NetworkMode": "front", "Binds": [f"data-{again}:/d"]})
        assert made.status in (201, 503), made.body
        await pair.in_order()
        if made.status == 201:
            assert (await pair.ask("DELETE", "/containers/other")).status in (204, 503)
        await until(lambda: pair.proxies[0].cache.lost_since is None, "the first proxy is back")
        await pair.in_order()
        left = [name for held in pair.containers().values() for name in held.values()]
        assert left == ["web"], left


async def test_agents_that_lose_their_lease_with_the_stores_silence_are_waited_for(pair: Pair) -> None:
    """A network that was made without them would live on one node for good."""
    agents = [Put(keys.agent(node), encode(Agent())) for node in ("N1", "N2")]
    await pair.store.txn([], [Delete(agent.key) for agent in agents])
    nodes = pair.proxies[0].view.nodes.values()
    await until(lambda: not any(node.agent_alive for node in nodes), "their leases have ended")
    network = asyncio.create_task(pair.ask("POST", "/networks/create", {"Name": "back"}))
    container = asyncio.create_task(pair.create("other", HostConfig={"NetworkMode": "front"}))
    await asyncio.sleep(0.1)
    await pair.store.txn([], agents)
    assert (await network).body["Warning"] == ""
    assert (await container).status == 201, (await container).body


class Dies:
    """The first proxy's store is gone with its n-th transaction, done (`late`) or not, until `found`."""

    def __init__(self, pair: Pair, nth: int, *, late: bool) -> None:
        self.pair, self.left = pair, nth
        store = pair.stores[0]
        self.stop = (store.after if late else store.before)("txn", self)

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.stop()
            self.pair.stores[0].unavailable = True
            raise Unavailable("injected")


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("nth", range(1, 5))
async def test_it_dies_within_a_create(pair: Pair, nth: int, late: bool) -> None:
    """Claim, network copy, its binding, the claim's binding: whatever it died of is given back when it returns."""
    Dies(pair, nth, late=late)
    body = {"HostConfig": {"NetworkMode": "back", "Binds": ["data:/d"]}}
    assert (await pair.ask("POST", "/networks/create", {"Name": "back"}, to=2)).status == 201
    made = await pair.create("other", **body)
    assert made.status in (201, 503), made.body
    await lost(pair) if made.status == 503 else None
    await found(pair)
    await pair.in_order()
    left = {name for held in pair.containers().values() for name in held.values()}
    assert left == ({"web", "other"} if made.status == 201 else {"web"})
    for proxy in (1, 2):  # and nothing stands in the way of another try
        await until(lambda proxy=proxy: pair.proxies[proxy - 1].session.remaining() > 2, "its lease is granted")
        if made.status == 201:
            assert (await pair.ask("DELETE", "/containers/other", to=proxy)).status == 204
        made = await pair.create("other", to=proxy, **body)
        assert made.status == 201, made.body
    await pair.in_order()


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("nth", [1, 2])
async def test_it_dies_within_a_rename(pair: Pair, nth: int, late: bool) -> None:
    Dies(pair, nth, late=late)
    renamed = await pair.ask("POST", "/containers/web/rename", name="shop")
    assert renamed.status == 503, renamed.body
    await found(pair)
    called = "web" if nth == 1 else "shop"  # the engine had been told between the two
    end = time.monotonic() + 5
    while set(await pair.stored("names/")) != {f"names/{called}"}:
        assert time.monotonic() < end, await pair.stored(*HELD)
        await asyncio.sleep(0.01)
    await pair.in_order()
    assert [one.name for engine in pair.engines for one in engine.containers.values()] == [called]
    other = {"web": "shop", "shop": "web"}[called]
    assert (await pair.ask("POST", f"/containers/{called}/rename", to=2, name=other)).status == 204


async def test_what_was_removed_meanwhile_is_released_when_it_is_back(pair: Pair) -> None:
    """At once: a port that nobody has is not kept from others until the next sweep."""
    assert (await pair.create("port", HostConfig={"Memory": 1 << 20})).status == 201
    for store in pair.stores:
        store.unavailable = True
    await until(lambda: all(one.cache.lost_since is not None for one in pair.proxies), "both know")
    for name in ("web", "port"):
        assert (await pair.ask("DELETE", f"/containers/{name}?force=1")).status == 204
    for store in pair.stores:
        store.unavailable = False
    await pair.in_order(3)
    assert not await pair.stored(*HELD)


async def test_it_is_away_when_a_proxy_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "FIRST_STORE", 0.05)

    async def away(pair: Pair) -> None:
        pair.stores[0].unavailable = True

    async with two_proxies(tmp_path, away) as pair:
        assert (await pair.ask("GET", "/_ping")).status == 200
        for method, path in (("GET", "/containers/json"), ("GET", "/v1.41/info"), ("POST", "/containers/create")):
            refused = await pair.ask(method, path)
            assert (refused.status, refused.message) == (503, "cluster store unavailable: the store is unavailable")
        assert (await pair.create("web", to=2)).status == 201
        pair.stores[0].unavailable = False
        await until(lambda: pair.proxies[0].view.find("web"), "the first proxy knows the cluster")
        assert (await pair.ask("DELETE", "/containers/web")).status == 204
        await until(lambda: pair.proxies[0].session.remaining() > 2, "its lease is granted")
        assert (await pair.create("web")).status == 201
        await pair.in_order()
