"""A view over simulated engines: what clients read, while engines change, vanish, freeze and come back."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from msgspec.json import encode as encode_json

from swarmproxy.cluster import monitor
from swarmproxy.cluster.catalog import Change
from swarmproxy.cluster.health import State
from swarmproxy.model import keys, options
from swarmproxy.model.errors import BadRequest, EngineUnreachable, NotFound
from swarmproxy.model.records import BOUND, Agent, Alloc, Name, NetworkCopy
from swarmproxy.testing import SimEngine
from tests.unit.cluster.conftest import Cluster, command, create, running, until


def silently_exit(engine: SimEngine, identity: str) -> None:
    """What a late list does: it shows the end, and nothing is said any more."""
    container = engine.containers[identity]
    container.status, container.finished = "exited", container.started
    container.changed()


async def test_a_caller_sees_its_own_change_at_once(two: Cluster) -> None:
    node = two.view.nodes["N1"]
    identity = await create(node, "web")
    entry = await two.view.refresh("N1", identity)
    assert entry is not None and (entry.state, entry.shown) == ("created", "web")
    assert two.names() == ["/web"] and two.names(all=False) == []
    for path, state in (("start", "running"), ("pause", "paused"), ("unpause", "running"), ("kill", "exited")):
        await command(node, "POST", f"/containers/{identity}/{path}")
        entry = await two.view.refresh("N1", identity)
        assert entry is not None and entry.state == state
        assert two.names(all=False) == (["/web"] if state != "exited" else [])
    await command(node, "DELETE", f"/containers/{identity}")
    two.view.gone("N1", identity)
    assert two.names() == []
    assert await two.view.refresh("N1", identity) is None


async def test_what_others_do_at_the_engine_shows(two: Cluster) -> None:
    node = two.view.nodes["N2"]
    identity = await create(node, "web", Labels={"a": "1", options.LABEL_TOKEN: "t"})
    await until(lambda: two.names() == ["/web"])
    entry = two.entry("web")
    assert (entry.token, entry.node, entry.labels["a"], entry.image) == ("t", node, "1", "busybox:latest")
    assert two.listed()[0]["Labels"] == {"a": "1", options.LABEL_NODE: "node-2"}
    await command(node, "POST", f"/containers/{identity}/start")
    await until(lambda: two.names(all=False) == ["/web"])
    two.engines[1].exit("web", 3)
    await until(lambda: two.entry("web").state == "exited")
    assert two.listed()[0]["Status"].startswith("Exited (3) ")
    assert two.view.exit_code(identity) == 3
    await command(node, "POST", f"/containers/{identity}/rename", "name=site")
    await until(lambda: two.names() == ["/site"])
    await command(node, "DELETE", f"/containers/{identity}")
    await until(lambda: two.names() == [])


async def test_the_list_is_one_of_both_engines_newest_first(two: Cluster) -> None:
    for number in range(6):
        await create(two.view.nodes[f"N{number % 2 + 1}"], f"c{number}")
    await until(lambda: len(two.view) == 6)
    listed = two.listed()
    assert [item["Created"] for item in listed] == sorted((item["Created"] for item in listed), reverse=True)
    assert set(two.names()) == {f"/c{number}" for number in range(6)}
    assert [entry.id for entry in two.view.entries()] == [item["Id"] for item in listed]


async def test_containers_of_one_second_stand_in_the_order_of_their_making() -> None:
    engine = SimEngine(name="node-1", seed=3)
    async with running(engine) as cluster:
        made = [await create(cluster.view.nodes["N1"], f"c{number}") for number in range(20)]
        await until(lambda: len(cluster.view) == 20)
        await until(lambda: [entry.id for entry in cluster.view.entries()] == made[::-1], "order by nanoseconds")
        await cluster.view.relist("N1")
        assert [entry.id for entry in cluster.view.entries()] == made[::-1]


async def test_ids_prefixes_and_names_find_a_container(two: Cluster) -> None:
    identity = await create(two.view.nodes["N1"], "web")
    await until(lambda: len(two.view) == 1)
    for ref in (identity, identity[:12], identity[:1], "web", "/web", "node-1/web", "N1/web", f"node-1/{identity[:5]}"):
        assert two.entry(ref).id == identity
    for ref in ("we", identity.upper(), "node-2/web", "node-9/web", "web/node-1", identity[:12] + "zz", ""):
        with pytest.raises(NotFound, match=f"No such container: {ref}"):
            two.entry(ref)


async def test_an_ambiguous_prefix_is_refused(two: Cluster) -> None:
    for number in range(40):
        await create(two.view.nodes["N1"], f"c{number}")
    await until(lambda: len(two.view) == 40)
    digits = [entry.id[0] for entry in two.view.entries()]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    with pytest.raises(BadRequest, match=f"multiple IDs found with provided prefix: {twice}"):
        two.entry(twice)


async def test_equal_names_are_told_apart_by_their_node_until_one_goes(two: Cluster) -> None:
    first = await create(two.view.nodes["N1"], "web")
    second = await create(two.view.nodes["N2"], "web")
    await until(lambda: len(two.view) == 2)
    holder, other = two.entry("web"), two.entry(second if two.entry("web").id == first else first)
    assert (holder.shown, other.shown) == ("web", f"{other.node.name}/web")
    assert sorted(two.names()) == sorted(["/web", f"/{other.node.name}/web"])
    assert two.entry(other.shown) is other

    # A claim in the store decides, whoever is older.
    await two.put(keys.alloc(other.node.id, "T"), Alloc(name="web", state=BOUND, container=other.id))
    await two.put(keys.name("web"), Name(token="T", node=other.node.id))
    assert two.entry("web").id == other.id
    assert sorted(two.names()) == sorted(["/web", f"/{holder.node.name}/web"])

    await command(other.node, "DELETE", f"/containers/{other.id}")
    await until(lambda: two.names() == ["/web"])
    assert two.entry("web").id == holder.id


async def test_classic_names_on_request(two: Cluster) -> None:
    await create(two.view.nodes["N1"], "web")
    other = two.new_view(node_names=True)
    running_ = asyncio.create_task(other.run())
    await until(lambda: len(other) == 1)
    assert b'"Names":["/node-1/web"]' in b"".join(other.chunks(True))
    assert other.container("web").name == "web"
    running_.cancel()


async def test_a_killed_engine_is_marked_and_its_containers_stay(two: Cluster) -> None:
    node = two.view.nodes["N1"]
    identity = await create(node, "web")
    await command(node, "POST", f"/containers/{identity}/start")
    await until(lambda: two.names(all=False) == ["/web"])
    loop = asyncio.get_running_loop()
    began = loop.time()
    await two.engines[0].refuse()
    await until(lambda: node.health.state is State.UNHEALTHY)
    assert loop.time() - began < 2.0
    assert node.health.reason
    assert two.listed(all=False)[0]["Status"].endswith(" (unreachable)")
    with pytest.raises(EngineUnreachable, match="node-1"):
        await two.view.refresh("N1", identity)
    await create(two.view.nodes["N2"], "other")
    await until(lambda: len(two.view) == 2)  # the healthy one is not held up

    await two.engines[0].accept()
    await until(lambda: node.health.state is State.HEALTHY)
    assert "unreachable" not in two.listed(all=False)[0]["Status"]
    await create(node, "after")
    await until(lambda: len(two.view) == 3)


async def test_changes_during_an_absence_are_found(two: Cluster) -> None:
    node, engine = two.view.nodes["N1"], two.engines[0]
    kept, lost = await create(node, "kept"), await create(node, "lost")
    await command(node, "POST", f"/containers/{kept}/start")
    await until(lambda: len(two.view) == 2 and two.entry("kept").state == "running")
    await engine.refuse()
    await until(lambda: node.health.state is State.UNHEALTHY)
    del engine.containers[lost]
    engine.exit("kept", 1)
    await engine.accept()
    await until(lambda: two.names() == ["/kept"] and two.entry("kept").state == "exited")


async def test_a_hung_engine_becomes_suspect_and_holds_nobody_up(two: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "PROBE", replace(monitor.PROBE, total=0.2))
    node = two.view.nodes["N1"]
    two.view._membership.monitors["N1"]._probe.set()
    two.engines[0].hang()
    await until(lambda: node.health.state is State.SUSPECT)
    await create(two.view.nodes["N2"], "web")
    await until(lambda: len(two.view) == 1)
    two.engines[0].resume()
    await until(lambda: node.health.state is State.HEALTHY)


async def test_a_slow_list_does_not_hold_up_a_command(two: Cluster) -> None:
    node, engine = two.view.nodes["N1"], two.engines[0]
    identity = await create(node, "web")
    await until(lambda: len(two.view) == 1)
    slow = engine.hang_on("GET", "/containers/json", times=1)
    slow.match = lambda call: "filters" not in call.query
    listing = asyncio.create_task(two.view.relist("N1"))
    await until(lambda: slow.times == 0)
    await command(node, "POST", f"/containers/{identity}/start")
    entry = await two.view.refresh("N1", identity)
    assert entry is not None and entry.state == "running"
    assert not listing.done()
    listing.cancel()


async def test_a_failed_list_is_asked_again(two: Cluster) -> None:
    engine = SimEngine(name="node-3", seed=9)
    await engine.start()
    engine.seed(3)
    engine.fail("GET", "/containers/json", times=1)
    engine.drop("GET", "/networks", times=1)
    await two.join(engine, 3)
    await until(lambda: len(two.view) == 3)
    await engine.stop()


async def test_members_come_move_and_go(two: Cluster) -> None:
    engine = SimEngine(name="node-3", containers=5, seed=5)
    await engine.start()
    seen: list[Change] = []
    two.view.on_change(seen.append)
    await two.join(engine, 3)
    await until(lambda: len(two.view) == 5)
    assert {change.kind for change in seen} == {"appeared"} and len(seen) == 5
    node = two.view.node("node-3")
    assert node is not None and node.member.address == engine.url

    await engine.stop()
    await until(lambda: node.health.state is State.UNHEALTHY)
    assert len(two.view) == 5
    engine.port = 0
    await engine.start()
    await two.join(engine, 3)
    await until(lambda: node.health.state is State.HEALTHY)
    assert two.view.node("node-3") is node and len(two.view) == 5
    assert all(change.kind == "appeared" for change in seen)

    await two.delete(keys.node("N3"))
    assert len(two.view) == 0 and two.view.node("node-3") is None
    assert sum(change.kind == "gone" for change in seen) == 5
    assert two.view.totals.cpus == 8
    await engine.stop()


async def test_a_member_that_was_never_reached_does_not_hold_up_the_others(two: Cluster) -> None:
    dead = SimEngine(name="dead")
    await dead.start()
    await dead.stop()
    await two.join(dead, 3)
    assert await two.view.ready(5)
    node = two.view.node("dead")
    assert node is not None and node.health.state is State.PENDING and node.health.reason != "not reached yet"


async def test_names_of_nodes_are_unique_and_shared_engine_ids_are_warned_about(two: Cluster) -> None:
    twin = SimEngine(name="node-1", engine_id=two.engines[0].id, seed=7)
    await twin.start()
    await two.join(twin, 3)
    await until(lambda: two.view.nodes["N3"].ready)
    assert two.view.nodes["N3"].name == "node-1-2"
    assert "node-1-2" in two.view.nodes["N1"].warning
    assert "node-1" in two.view.nodes["N3"].warning
    assert two.view.nodes["N2"].warning == ""
    await twin.stop()


async def test_a_member_without_a_name_takes_its_engines(two: Cluster) -> None:
    engine = SimEngine(name="fourth", containers=1, seed=4)
    await engine.start()
    await two.join(engine, 4, name="")
    two_names = [node.name for node in two.view.nodes.values()]
    await until(lambda: two.view.node("fourth") is not None or two_names.append(""))
    await until(lambda: len(two.view) == 1)
    assert two.listed()[0]["Labels"][options.LABEL_NODE] == "fourth"
    await engine.stop()


async def test_network_ids_are_the_clusters(two: Cluster) -> None:
    node = two.view.nodes["N1"]
    identity = await create(node, "web")
    await until(lambda: len(two.view) == 1)
    network = options.PREDEFINED["bridge"]
    await command(node, "POST", f"/containers/{identity}/start")
    await until(lambda: two.entry("web").networks == {"bridge": network})
    local = node.local_of[network]
    assert node.cluster_of[local] == network
    assert node.swap_in(network.encode()) == local.encode() and node.swap_out(local.encode()) == network.encode()

    made = (await command(node, "POST", "/networks/create", body={"Name": "n1"}))["Id"]
    await command(node, "POST", f"/networks/{made}/connect", body={"Container": identity})
    await until(lambda: two.entry("web").networks.get("n1") == made)
    await two.put(keys.netnode("c" * 64, "N1"), NetworkCopy(id=made))
    assert two.entry("web").networks == {"bridge": network, "n1": "c" * 64}
    assert two.listed()[0]["NetworkSettings"]["Networks"]["n1"]["NetworkID"] == "c" * 64
    await two.delete(keys.netnode("c" * 64, "N1"))
    assert two.entry("web").networks["n1"] == made


async def test_images_volumes_and_networks_follow_their_events(two: Cluster) -> None:
    node = two.view.nodes["N1"]
    await until(lambda: node.images and node.networks)
    await command(node, "POST", "/volumes/create", body={"Name": "v1"})
    await until(lambda: "v1" in node.volumes)
    await command(node, "POST", "/networks/create", body={"Name": "n1"})
    await until(lambda: "n1" in {network["Name"] for network in node.networks.values()})
    await command(node, "POST", "/images/busybox/tag", "repo=mine&tag=1")
    await two.view.refresh_images("N1")
    assert "mine:1" in [tag for image in node.images.values() for tag in image["RepoTags"]]
    await command(node, "DELETE", "/volumes/v1")
    await two.view.refresh_volumes("N1")
    assert node.volumes == {}
    assert two.view.totals.images == len({*node.images, *two.view.nodes["N2"].images})


async def test_totals_are_the_sums(two: Cluster) -> None:
    node = two.view.nodes["N1"]
    first, second = await create(node, "c1"), await create(node, "c2")
    await command(node, "POST", f"/containers/{first}/start")
    await command(node, "POST", f"/containers/{second}/start")
    await command(node, "POST", f"/containers/{second}/pause")
    await create(two.view.nodes["N2"], "c3")
    await until(lambda: two.view.totals.all.paused == 1 and two.view.totals.all.containers == 3)
    counts, part = two.view.totals.all, two.view.totals.node("N1")
    assert (counts.containers, counts.running, counts.paused, counts.stopped) == (3, 1, 1, 1)
    assert (part.containers, part.running, part.paused, part.stopped) == (2, 1, 1, 0)
    assert (two.view.totals.cpus, two.view.totals.memory) == (8, 16 << 30)


async def test_an_agent_lives_by_its_lease_alone(two: Cluster) -> None:
    node = two.view.nodes["N1"]
    assert not node.agent_alive
    await two.put(keys.agent("N1"), Agent(version="1"))
    assert node.agent_alive and node.healthy
    await two.delete(keys.agent("N1"))
    assert not node.agent_alive and node.healthy


async def test_what_another_proxy_has_just_made_is_found_before_a_404(two: Cluster) -> None:
    node = two.view.nodes["N2"]
    quiet = two.engines[1].hang_on("GET", "/events", times=None)  # no event tells
    await two.engines[1].refuse()
    await two.engines[1].accept()
    await until(lambda: node.healthy)
    await until(lambda: two.view.nodes["N1"].healthy)
    identity = await create(node, "web")
    assert two.view.find(identity) is None
    entry = await two.view.resolve(identity)
    assert entry.id == identity

    other = await create(node, "site")
    await two.put(keys.name("site"), Name(token="T", node="N2"))
    assert (await two.view.resolve("site")).id == other
    with pytest.raises(NotFound, match="No such container: nobody"):
        await two.view.resolve("nobody")
    quiet.times = 0


async def test_a_missing_id_is_asked_for_once_a_second(two: Cluster) -> None:
    wanted = "ab" * 32
    before = len(two.engines[0].calls)
    answers = await asyncio.gather(*(two.view.miss(wanted) for _ in range(10)))
    assert answers == [None] * 10
    assert await two.view.miss(wanted) is None
    asked = [call for call in list(two.engines[0].calls)[before:] if wanted in call.query]
    assert len(asked) == 1
    assert await two.view.miss("abab") is None


async def test_execs_are_found(two: Cluster) -> None:
    node = two.view.nodes["N2"]
    identity = await create(node, "web")
    await command(node, "POST", f"/containers/{identity}/start")
    made = (await command(node, "POST", f"/containers/{identity}/exec", body={"Cmd": ["true"]}))["Id"]
    assert await two.view.find_exec(made) is node
    fresh = two.new_view()
    running_ = asyncio.create_task(fresh.run())
    assert await fresh.ready(5)
    found = await fresh.find_exec(made)
    assert found is not None and found.id == "N2"
    assert await fresh.find_exec("0" * 64) is None
    running_.cancel()


async def test_thousands_are_listed_by_pages(two: Cluster) -> None:
    engine = SimEngine(name="node-3", containers=1500, seed=6)
    await engine.start()
    await two.join(engine, 3)
    await until(lambda: len(two.view) == 1500)
    chunks = list(two.view.chunks(True))
    assert 3 <= len(chunks) <= 10
    assert len(two.listed()) == 1500
    await engine.stop()


async def test_an_event_that_runs_ahead_of_the_engines_list_is_asked_about_until_they_agree(two: Cluster) -> None:
    """As 20.10 does it with `die` and `pause`: the event first, the list some milliseconds later."""
    node, engine = two.view.nodes["N1"], two.engines[0]
    identity = await create(node, "web")
    await command(node, "POST", f"/containers/{identity}/start")
    await until(lambda: two.names(all=False) == ["/web"])
    before = len(engine.calls)
    shape = {"Type": "container", "Action": "die", "Actor": {"ID": identity, "Attributes": {"exitCode": "0"}}}
    two.view._membership.monitors["N1"].feed.take(encode_json(shape | {"timeNano": time.time_ns()}) + b"\n")
    await until(lambda: len(engine.calls) >= before + 3)
    assert two.entry("web").state == "running"
    silently_exit(engine, identity)
    await until(lambda: two.entry("web").state == "exited")


async def test_a_caller_who_knows_what_happened_waits_for_the_engines_list(two: Cluster) -> None:
    node, engine = two.view.nodes["N1"], two.engines[0]
    identity = await create(node, "web")
    await command(node, "POST", f"/containers/{identity}/start")
    await two.view.refresh("N1", identity)
    before = len(engine.calls)
    asking = asyncio.create_task(two.view.refresh("N1", identity, agrees=lambda entry: not entry.running))
    await until(lambda: len(engine.calls) >= before + 3)
    assert not asking.done()
    silently_exit(engine, identity)
    entry = await asking
    assert entry is not None and entry.state == "exited"


async def test_a_proxy_that_lags_does_not_blame_the_engines() -> None:
    clock = [100.0]
    cluster = Cluster(())
    membership = cluster.new_view(monotonic=lambda: clock[0])._membership
    assert not membership.lagging()
    clock[0] += 5.0  # the loop stood still
    assert membership.lagging()
    membership._due = clock[0] + 0.25
    assert membership.lagging()
    clock[0] += 4.0
    membership._due = clock[0] + 0.25
    assert not membership.lagging()


async def test_a_create_event_of_the_next_second_counts_from_the_second_of_creation(two: Cluster) -> None:
    await create(two.view.nodes["N1"], "web")
    await until(lambda: two.names() == ["/web"])
    entry = two.entry("web")
    late = (entry.created * 10 + 10) * 10**8 + 4_000_000  # 4 ms into the second after Created's
    two.view._membership.monitors["N1"].feed._note("create", entry.id, {}, late)
    assert entry.order[1] == -1_004_000_000
    assert [one.id for one in two.view.entries()] == [entry.id]
