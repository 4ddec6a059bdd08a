"""What a client of `/events` hears."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest

from swarmproxy.cluster import events
from swarmproxy.cluster.eventfilter import compile_filter
from swarmproxy.cluster.events import SYNTHETIC, EventHub, Subscription
from swarmproxy.cluster.health import State
from swarmproxy.model import keys, options
from swarmproxy.model.records import LOCAL, Network, NetworkCopy
from swarmproxy.testing import SimEngine
from tests.unit.cluster.conftest import Cluster, command, create, running, until

Event = dict[str, Any]


class Listener:
    """Collects a subscription's events."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.events: list[Event] = []
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for chunk in self.subscription:
            assert chunk.endswith(b"\n")
            self.events += [msgspec.json.decode(line) for line in chunk.splitlines()]

    @property
    def actions(self) -> list[str]:
        return [f"{event['Type']} {event['Action']}" for event in self.events]


def listen(cluster: Cluster, since: int | None = None, until: int | None = None, **filters: list[str]) -> Listener:
    return Listener(cluster.view.events.subscribe(compile_filter(filters), since=since, until=until))


async def test_events_tell_where_they_happened_and_nothing_of_ours(two: Cluster) -> None:
    heard = listen(two)
    node = two.view.nodes["N2"]
    identity = await create(node, "web", Labels={"mine": "1", options.LABEL_TOKEN: "t"})
    await until(lambda: heard.events)
    event = heard.events[0]
    assert (event["status"], event["id"], event["from"]) == ("create", identity, "busybox:latest")
    assert event["Actor"]["Attributes"] == {
        "mine": "1",
        "image": "busybox:latest",
        "name": "web",
        "node.name": "node-2",
        "node.id": "N2",
        "node.addr": node.address,
        "node.ip": "127.0.0.1",
    }


async def test_who_lists_on_an_event_finds_what_it_spoke_of(two: Cluster) -> None:
    """Proxies that follow containers list on `start`; a list that lags behind would leave them blind."""
    node = two.view.nodes["N1"]
    two.engines[0].faults.latency = 0.02
    states: list[tuple[str, str]] = []

    async def follow() -> None:
        wanted = compile_filter({"type": ["container"], "event": ["start", "die", "destroy"]})
        async for chunk in two.view.events.subscribe(wanted):
            for line in chunk.splitlines():
                entry = two.view.find("web")
                states.append((msgspec.json.decode(line)["Action"], entry.state if entry is not None else ""))

    task = asyncio.create_task(follow())
    await asyncio.sleep(0)
    identity = await create(node, "web")
    await command(node, "POST", f"/containers/{identity}/start")
    await until(lambda: len(states) == 1)
    two.engines[0].exit("web", 1)
    await until(lambda: len(states) == 2)
    await command(node, "DELETE", f"/containers/{identity}")
    await until(lambda: len(states) == 3)
    assert states == [("start", "running"), ("die", "exited"), ("destroy", "")]
    task.cancel()


async def test_filters_and_several_listeners(two: Cluster) -> None:
    everything, starts = listen(two), listen(two, event=["start"], node=["node-1"])
    for key in ("N1", "N2"):
        identity = await create(two.view.nodes[key], f"on-{key}")
        await command(two.view.nodes[key], "POST", f"/containers/{identity}/start")
    await until(lambda: everything.actions.count("container start") == 2)
    await until(lambda: starts.events)
    assert [event["Actor"]["Attributes"]["name"] for event in starts.events] == ["on-N1"]


async def test_the_past_is_there_from_before_we_came() -> None:
    engine = SimEngine(name="node-1", seed=1)
    async with running(engine) as cluster:
        identity = await create(cluster.view.nodes["N1"], "web")
        await command(cluster.view.nodes["N1"], "POST", f"/containers/{identity}/start")
        engine.exit("web", 5)
        await until(lambda: (entry := cluster.view.find("web")) is not None and entry.state == "exited")
        fresh = cluster.new_view()
        task = asyncio.create_task(fresh.run())
        assert await fresh.ready(5)
        live = Listener(fresh.events.subscribe(compile_filter({})))
        past = Listener(fresh.events.subscribe(compile_filter({"type": ["container"]}), since=0))
        await until(lambda: len(past.events) >= 3)
        assert past.actions == ["container create", "container start", "container die"]
        assert live.events == []
        assert fresh.exit_code(identity) == 5
        task.cancel()


async def test_since_and_until_cut_the_past_and_end_the_stream(two: Cluster) -> None:
    now = time.time_ns()
    two.view.events.clock = lambda: now / 1e9
    for number in range(5):
        event = {"Type": "x", "Action": str(number), "Actor": {"ID": "", "Attributes": {}}, "timeNano": now + number}
        two.view.events.publish("N1" if number % 2 else "N2", event)
    assert [event["Action"] for event in await all_of(listen(two, since=now + 1, until=now + 3))] == ["1", "2", "3"]
    assert [event["Action"] for event in await all_of(listen(two, until=now))] == ["0"]


async def all_of(heard: Listener) -> list[Event]:
    heard.subscription._hub.clock = time.time
    await asyncio.wait_for(heard.task, 5)
    return heard.events


async def test_until_in_the_future_ends_the_stream_then(two: Cluster) -> None:
    heard = listen(two, until=time.time_ns() + 100_000_000)
    await asyncio.wait_for(heard.task, 5)
    assert len(two.view.events) == 0


async def test_a_listener_that_does_not_read_is_ended_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "QUEUE", 10)
    hub = EventHub()
    slow, quick = hub.subscribe(compile_filter({})), hub.subscribe(compile_filter({}))
    for number in range(11):
        hub.publish("N1", {"Type": "x", "Action": str(number)})
        assert await anext(quick)
    assert slow.overrun
    with pytest.raises(StopAsyncIteration):
        await anext(slow)
    assert len(hub) == 1


async def test_a_ring_forgets_the_oldest_of_its_engine_only() -> None:
    hub = EventHub()
    hub.publish("N2", {"Type": "x", "Action": "old", "timeNano": 1})
    for number in range(events.HISTORY + 5):
        hub.publish("N1", {"Type": "x", "Action": str(number), "timeNano": 2 + number})
    lines = (await anext(hub.subscribe(compile_filter({}), since=0))).splitlines()
    assert len(lines) == events.HISTORY + 1
    assert b'"old"' in lines[0]


async def test_the_cluster_announces_its_networks_and_hides_their_copies(two: Cluster) -> None:
    heard = listen(two, type=["network"])
    node, cluster_id = two.view.nodes["N1"], "c" * 64
    body = msgspec.Raw(b'{"Name":"n1","Driver":"overlay"}')
    await two.put(keys.network(cluster_id), Network(id=cluster_id, name="n1", body=body))
    hold = two.engines[0].faults
    hold.latency = 0.01
    local = (await command(node, "POST", "/networks/create", body={"Name": "n1"}))["Id"]
    await two.put(keys.netnode(cluster_id, "N1"), NetworkCopy(id=local))
    identity = await create(node, "web", HostConfig={"NetworkMode": "n1"})
    await command(node, "POST", f"/containers/{identity}/start")
    await until(lambda: "network connect" in heard.actions)
    assert heard.events[0]["Action"] == "create"
    attributes = {"name": "n1", "type": "overlay"}
    assert heard.events[0]["Actor"] == {"ID": cluster_id, "Attributes": attributes}
    connect = next(event for event in heard.events if event["Action"] == "connect")
    assert connect["Actor"]["ID"] == cluster_id
    assert attributes.items() <= connect["Actor"]["Attributes"].items()

    await command(node, "DELETE", f"/containers/{identity}", "force=1")
    await command(node, "DELETE", f"/networks/{local}")
    await two.delete(keys.netnode(cluster_id, "N1"))
    await two.delete(keys.network(cluster_id))
    await until(lambda: "network destroy" in heard.actions)
    await create(node, "last")
    await until(lambda: len(two.view) == 1)
    assert heard.actions.count("network destroy") == 1


async def test_networks_of_one_node_are_announced_by_their_engine(two: Cluster) -> None:
    heard = listen(two, type=["network"])
    local = (await command(two.view.nodes["N1"], "POST", "/networks/create", body={"Name": "n1"}))["Id"]
    await two.put(keys.network("d" * 64), Network(id="d" * 64, name="n1", mode=LOCAL, home="N1"))
    await until(lambda: heard.events)
    assert [event["Actor"]["ID"] for event in heard.events] == [local]


async def test_nothing_is_heard_twice_over_a_reconnect(two: Cluster) -> None:
    heard = listen(two, type=["container"])
    node = two.view.nodes["N1"]
    await create(node, "before")
    await until(lambda: len(heard.events) == 1)
    await two.engines[0].refuse()
    await until(lambda: node.health.state is State.UNHEALTHY)
    await two.engines[0].accept()
    await until(lambda: node.health.state is State.HEALTHY)
    await create(node, "after")
    await until(lambda: len(heard.events) == 2)
    assert [event["Actor"]["Attributes"]["name"] for event in heard.events] == ["before", "after"]


async def test_what_an_engine_forgot_is_told_as_synthetic(two: Cluster) -> None:
    node, engine = two.view.nodes["N1"], two.engines[0]
    kept, lost = await create(node, "kept"), await create(node, "lost")
    await command(node, "POST", f"/containers/{kept}/start")
    await until(lambda: len(two.view) == 2 and two.entry("kept").state == "running")
    heard = listen(two, type=["container"])
    await engine.refuse()
    await until(lambda: node.health.state is State.UNHEALTHY)
    del engine.containers[lost]
    engine.exit("kept", 1)
    await engine.restart()  # its events are only in memory
    await until(lambda: len(heard.events) == 2)
    told = {event["Actor"]["Attributes"]["name"]: event for event in heard.events}
    assert (told["kept"]["Action"], told["lost"]["Action"]) == ("die", "destroy")
    assert all(event["Actor"]["Attributes"][SYNTHETIC] == "1" for event in heard.events)


async def test_an_engines_wrong_clock_is_put_right() -> None:
    engine = SimEngine(name="node-1", seed=1)
    engine.skew = 3600.0
    async with running(engine) as cluster:
        node = cluster.view.nodes["N1"]
        assert node.clock_offset == pytest.approx(3600, abs=1)
        heard = listen(cluster)
        identity = await create(node, "web")
        await command(node, "POST", f"/containers/{identity}/start")
        await until(lambda: "container start" in heard.actions)
        assert abs(heard.events[0]["timeNano"] / 1e9 - time.time()) < 5
        assert abs(heard.events[0]["time"] - time.time()) < 5
        status = cluster.listed()[0]["Status"]
        assert status.startswith("Up ") and "hour" not in status


async def test_renames_and_shown_names(two: Cluster) -> None:
    first, second = await create(two.view.nodes["N1"], "web"), await create(two.view.nodes["N2"], "web")
    await until(lambda: len(two.view) == 2)
    heard = listen(two, type=["container"])
    await command(two.view.nodes["N1"], "POST", f"/containers/{first}/start")
    await command(two.view.nodes["N2"], "POST", f"/containers/{second}/start")
    await until(lambda: len(heard.events) == 2)
    names = {event["id"]: event["Actor"]["Attributes"]["name"] for event in heard.events}
    assert names == {first: two.entry(first).shown, second: two.entry(second).shown}
    assert sorted(names.values())[1] == "web"
