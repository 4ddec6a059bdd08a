"""A container whose network another proxy replaced a moment ago joins the new one."""

from __future__ import annotations

from typing import Any

import pytest

from swarmproxy.lifecycle import network
from tests.unit.protocol.pair import Pair, until


async def made(pair: Pair) -> str:
    """The network's id, once the second proxy knows it."""
    reply = await pair.ask("POST", "/networks/create", {"Name": "front"}, to=1)
    assert reply.status == 201, reply
    await until(lambda: reply.body["Id"] in pair.proxies[1].cluster.records.networks, "the second proxy knows it")
    return str(reply.body["Id"])


async def behind(pair: Pair, monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """The network is replaced, and the second proxy's next looks still find the former; what they found goes in."""
    former = pair.proxies[1].cluster.records.networks[await made(pair)]
    assert (await pair.ask("DELETE", "/networks/front", to=1)).status == 204
    await made(pair)
    looks: list[str] = []
    look = network.find

    def find(cluster: Any, reference: str) -> Any:
        found = former if len(looks) < times else look(cluster, reference)
        looks.append(found.value.id if found is not None else "")
        return found

    monkeypatch.setattr(network, "find", find)
    return looks


async def test_it_is_planned_anew(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = await behind(pair, monkeypatch, 1)
    reply = await pair.create("web", to=2, HostConfig={"NetworkMode": "front"})
    assert reply.status == 201, reply
    assert len(set(looks)) == 2
    assert (await pair.ask("POST", "/containers/web/start", to=2)).status == 204
    networks = (await pair.ask("GET", "/containers/web/json", to=2)).body["NetworkSettings"]["Networks"]
    assert networks["front"]["NetworkID"] == looks[-1]


async def test_a_plan_that_never_holds_ends_and_leaves_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    await behind(pair, monkeypatch, 1000)
    reply = await pair.create("web", to=2, HostConfig={"NetworkMode": "front"})
    assert (reply.status, reply.message) == (500, "networks changed while the container was being placed")
    assert not [kv for prefix in ("names/", "alloc/") for kv in (await pair.store.list(prefix))[1]]
