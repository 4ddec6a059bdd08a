"""Containers' lives on a simulated engine: the order of events, ports, networks, volumes, waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from swarmproxy.testing import FakeClock, SimEngine

OLD, NEW = "20.10", "26.1"


async def until(condition: Callable[[], bool]) -> None:
    """Fails by the test's own time limit when it never holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_events_of_a_life_are_in_the_flavours_order(talk, engine: SimEngine, flavour: str) -> None:
    await talk.run("web", HostConfig={"Binds": ["v1:/data"]})
    await talk("POST", "/containers/web/stop")
    await talk("DELETE", "/containers/web")
    begin = [
        "volume create v1",
        "container create web",
        "network connect bridge",
        "volume mount v1",
        "container start web",
        "container kill web",
    ]
    gone = ["network disconnect bridge", "volume unmount v1"]
    if flavour == OLD:
        end = ["container die web", *gone, "container stop web"]
    else:
        end = [*gone, "container stop web", "container die web"]
    assert talk.actions() == [*begin, *end, "container destroy web"]


async def test_an_event_is_shaped_like_an_engines(talk, engine: SimEngine) -> None:
    made = await talk.run("web", Labels={"k": "v"})
    start = engine.daemon.ring.history[-1]
    import msgspec

    event = msgspec.json.decode(start.encode())
    assert list(event) == ["status", "id", "from", "Type", "Action", "Actor", "scope", "time", "timeNano"]
    assert event["Actor"] == {"ID": made, "Attributes": {"image": "busybox", "k": "v", "name": "web"}}
    assert event["time"] == event["timeNano"] // 10**9


async def test_events_replay_and_go_on(talk, engine: SimEngine) -> None:
    await talk.run("one")
    since = engine.daemon.ring.history[-1].nano
    query = f'since={since // 10**9}.{since % 10**9:09d}&filters={{"type":["container"],"event":["start","die"]}}'
    async with talk.session.get(f"{engine.url}/events?{query}") as stream:
        assert b'"name":"one"' in await stream.content.readline()
        await talk.run("two")
        engine.exit("two", 3)
        assert b'"name":"two"' in await stream.content.readline()
        assert b'"exitCode":"3"' in await stream.content.readline()
    await until(lambda: engine.daemon.ring.listeners == 0)


async def test_the_ring_holds_256(talk, engine: SimEngine) -> None:
    for _ in range(150):
        await talk("POST", "/images/busybox/tag?repo=x&tag=1")
        await talk("DELETE", "/images/x:1")
    until = int(engine.daemon.time()) + 1
    engine.daemon.skew = 5
    async with talk.session.get(f"{engine.url}/events?since=1&until={until}") as stream:
        assert len((await stream.read()).splitlines()) == 256


@pytest.mark.parametrize("condition", ["not-running", "next-exit", "removed"])
async def test_wait_sends_its_head_before_its_body(talk, engine: SimEngine, flavour: str, condition: str) -> None:
    await talk.run("web")
    async with talk.session.post(f"{engine.url}/containers/web/wait?condition={condition}") as reply:
        assert reply.status == 200
        reading = asyncio.ensure_future(reply.json())
        engine.exit("web", 7)
        if condition == "removed":
            await talk("GET", "/_ping")
            assert not reading.done()
            await talk("DELETE", "/containers/web")
        assert await reading == {OLD: {"Error": None, "StatusCode": 7}, NEW: {"StatusCode": 7}}[flavour]


async def test_a_stopped_container_answers_not_running_at_once(talk, engine: SimEngine) -> None:
    await talk.create("web")
    assert (await talk("POST", "/containers/web/wait"))[1]["StatusCode"] == 0


async def test_forced_removal_ends_waiting_with_137(talk, engine: SimEngine) -> None:
    await talk.run("web")
    waits = []
    for condition in ("not-running", "removed"):
        waits.append(await talk.session.post(f"{engine.url}/containers/web/wait?condition={condition}"))
    await talk("DELETE", "/containers/web?force=1")
    for reply in waits:
        assert (await reply.json())["StatusCode"] == 137


async def test_a_port_is_published_once(talk, flavour: str) -> None:
    ports = {"ExposedPorts": {"80/tcp": {}}, "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}}
    await talk.run("p1", **ports)
    await talk.create("p2", **ports)
    status, answer = await talk("POST", "/containers/p2/start")
    assert status == 500
    assert answer["message"].endswith("Bind for 0.0.0.0:8080 failed: port is already allocated")
    _, p2 = await talk("GET", "/containers/p2/json")
    assert (p2["State"]["Status"], p2["State"]["ExitCode"], p2["NetworkSettings"]["Ports"]) == ("created", 128, {})
    assert p2["State"]["Error"] == answer["message"]
    await talk("POST", "/containers/p1/stop")
    assert (await talk("POST", "/containers/p2/start"))[0] == 204
    _, p2 = await talk("GET", "/containers/p2/json")
    assert p2["NetworkSettings"]["Ports"]["80/tcp"][0] == {"HostIp": "0.0.0.0", "HostPort": "8080"}


async def test_bindings_without_exposed_ports_publish_nothing(talk) -> None:
    await talk.run("web", HostConfig={"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}})
    assert (await talk("GET", "/containers/web/json"))[1]["NetworkSettings"]["Ports"] == {}


@pytest.mark.parametrize("mode", ["missing", "container:missing"])
async def test_create_takes_a_missing_network_and_start_does_not(talk, mode: str) -> None:
    await talk.create("web", HostConfig={"NetworkMode": mode})
    status, answer = await talk("POST", "/containers/web/start")
    words = "network missing not found" if mode == "missing" else "No such container: missing"
    assert (status, answer["message"]) == (404, words)
    _, web = await talk("GET", "/containers/web/json")
    assert (web["State"]["Status"], web["State"]["ExitCode"], web["State"]["Error"]) == ("created", 128, words)


async def test_endpoints_come_and_go_with_the_container(talk, engine: SimEngine, flavour: str) -> None:
    _, made = await talk("POST", "/networks/create", {"Name": "n1", "Driver": "swarmproxy", "Labels": {"k": "v"}})
    settings = {"n1": {"Aliases": ["al"], "DriverOpts": {"swp.token": "t"}}}
    cid = await talk.run("web", HostConfig={"NetworkMode": "n1"}, NetworkingConfig={"EndpointsConfig": settings})
    _, web = await talk("GET", "/v1.41/containers/web/json")
    place = web["NetworkSettings"]["Networks"]["n1"]
    assert place["NetworkID"] == made["Id"] and place["IPAddress"].startswith("172.18.0.")
    assert place["Aliases"] == ["al", cid[:12]] and place["DriverOpts"] == {"swp.token": "t"}
    assert ("DNSNames" in place) == (flavour == NEW)
    _, listed = await talk("GET", "/containers/json")
    assert listed[0]["NetworkSettings"]["Networks"]["n1"]["Aliases"] is None
    _, net = await talk("GET", "/networks/n1")
    assert net["Containers"][cid]["Name"] == "web" and net["Labels"] == {"k": "v"}
    status, answer = await talk("DELETE", "/networks/n1")
    assert (status, answer["message"].endswith("has active endpoints")) == (403, True)
    await talk("POST", "/containers/web/kill")
    place = (await talk("GET", "/containers/web/json"))[1]["NetworkSettings"]["Networks"]["n1"]
    assert (place["NetworkID"], place["IPAddress"], place["EndpointID"]) == (made["Id"], "", "")
    assert (await talk("DELETE", "/networks/n1"))[0] == 204


async def test_an_explicit_disconnect_of_a_running_container_is_told_twice(talk, engine: SimEngine) -> None:
    await talk.run("web")
    await talk("POST", "/networks/create", {"Name": "n1"})
    before = len(engine.daemon.ring.history)
    assert (await talk("POST", "/networks/n1/connect", {"Container": "web"}))[0] == 200
    assert (await talk("POST", "/networks/n1/connect", {"Container": "web"}))[0] == 403
    assert (await talk("POST", "/networks/n1/disconnect", {"Container": "web"}))[0] == 200
    assert talk.actions(before) == ["network connect n1", "network disconnect n1", "network disconnect n1"]
    status, answer = await talk("POST", "/networks/n1/disconnect", {"Container": "web"})
    assert (status, answer["message"].endswith("is not connected to network n1")) == (500, True)


async def test_two_networks_of_one_name_exist_only_on_the_old(talk, flavour: str) -> None:
    await talk("POST", "/networks/create", {"Name": "n1"})
    status, _ = await talk("POST", "/networks/create", {"Name": "n1"})
    assert status == {OLD: 201, NEW: 409}[flavour]
    status, _ = await talk("POST", "/networks/create", {"Name": "n1", "CheckDuplicate": True})
    assert status == 409


async def test_several_networks_at_once_need_the_new_api(talk, engine: SimEngine, flavour: str) -> None:
    for name in ("n1", "n2"):
        await talk("POST", "/networks/create", {"Name": name})
    body = {"Image": "busybox", "Cmd": ["sleep", "1"], "HostConfig": {"NetworkMode": "n1"}}
    body["NetworkingConfig"] = {"EndpointsConfig": {"n1": {}, "n2": {}}}
    status, _ = await talk("POST", "/containers/create?name=web", body)
    assert status == {OLD: 400, NEW: 201}[flavour]
    if flavour == NEW:
        await talk("POST", "/containers/web/start")
        assert list(engine.container("web").endpoints) == ["n1", "n2"]


async def test_a_network_named_by_its_id(talk, engine: SimEngine) -> None:
    _, made = await talk("POST", "/networks/create", {"Name": "n1"})
    nid = made["Id"]
    config = {"EndpointsConfig": {nid: {"Aliases": ["x"]}}}
    await talk.run("web", HostConfig={"NetworkMode": nid}, NetworkingConfig=config)
    _, web = await talk("GET", "/containers/web/json")
    assert list(web["NetworkSettings"]["Networks"]) == ["n1"]
    assert web["HostConfig"]["NetworkMode"] == nid


async def test_volumes_in_use_and_anonymous_ones(talk, engine: SimEngine) -> None:
    cid = await talk.create("web", Volumes={"/anon": {}}, HostConfig={"Binds": ["v1:/data"]})
    status, answer = await talk("DELETE", "/volumes/v1?force=1")
    assert (status, answer["message"]) == (409, f"remove v1: volume is in use - [{cid}]")
    assert len(engine.daemon.volumes) == 2
    await talk("DELETE", "/containers/web?v=1")
    assert list(engine.daemon.volumes) == ["v1"]
    assert (await talk("DELETE", "/volumes/v1"))[0] == 204
    assert (await talk("DELETE", "/volumes/v1?force=1"))[0] == 204


async def test_restart_policy_backs_off_and_gives_up() -> None:
    clock = FakeClock()
    async with SimEngine(clock=clock) as engine:
        policy = {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}}
        body = {"Image": "busybox", "Cmd": ["false"], "HostConfig": policy}
        from swarmproxy.testing import containers, running

        containers.create(engine.daemon, "web", body, api=(1, 41))
        running.start(engine.daemon, "web")
        web = engine.container("web")
        clock.advance(0.0)
        assert (web.status, web.exit_code) == ("restarting", 1)
        clock.advance(0.09)
        assert (web.status, web.restarts) == ("restarting", 0)
        clock.advance(0.02)
        assert web.restarts == 1
        clock.advance(10)
        assert (web.status, web.restarts) == ("exited", 2)


async def test_what_ended_by_hand_does_not_come_back(talk, engine: SimEngine) -> None:
    await talk.run("web", HostConfig={"RestartPolicy": {"Name": "always"}})
    await talk("POST", "/containers/web/kill")
    assert engine.container("web").status == "exited"


async def test_the_status_text_ages_with_the_clock() -> None:
    clock = FakeClock()
    async with SimEngine(clock=clock, containers=1) as engine:
        from swarmproxy.testing.shapes import status_text

        web = engine.container("node-1-0")
        seen = []
        for seconds in (0, 1, 44, 15, 60, 3600):
            clock.advance(seconds)
            seen.append(status_text(engine.daemon, web))
        assert seen[:4] == ["Up Less than a second", "Up 1 second", "Up 45 seconds", "Up About a minute"]
        assert seen[4:] == ["Up 2 minutes", "Up About an hour"]
        engine.exit("node-1-0", 3)
        clock.advance(43)
        assert status_text(engine.daemon, web) == "Exited (3) 43 seconds ago"
        engine.skew = 100.0
        assert status_text(engine.daemon, web) == "Exited (3) 2 minutes ago"


async def test_health_is_told_once_per_change(talk, engine: SimEngine) -> None:
    await talk.run("web", Healthcheck={"Test": ["CMD", "true"]})
    assert engine.container("web").health == "starting"
    engine.health("web", "healthy")
    engine.health("web", "healthy")
    assert talk.actions()[-2:] == ["container start web", "container health_status: healthy web"]
    _, shown = await talk("GET", "/containers/json")
    assert shown[0]["Status"].endswith("(healthy)")
