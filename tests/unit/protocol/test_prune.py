"""Prune through the proxy: in use anywhere means in use, and what a reply says to be gone is gone for everyone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from urllib.parse import parse_qs

import pytest

from swarmproxy.cluster import health, monitor
from swarmproxy.discovery.store import Compare, Op, Put, TxnResult
from swarmproxy.model import keys
from swarmproxy.model.codec import encode
from swarmproxy.model.records import LOCAL, Endpoint, Network, NetworkCopy, Volume
from tests.unit.protocol.conftest import Served


async def test_containers_of_all_nodes_go_and_their_names_are_free(served: Served) -> None:
    running = await served.start("stays", 1)
    gone = [await served.create("one", 1), await served.create("two", 2)]
    status, reply = await served.ask("POST", "/containers/prune")
    assert (status, sorted(reply["ContainersDeleted"]), reply["SpaceReclaimed"]) == (200, sorted(gone), 0)
    _, shown = await served.ask("GET", "/containers/json?all=1")
    assert [one["Id"] for one in shown] == [running]
    assert list(served.cluster.records.names) == ["stays"]
    await asyncio.gather(served.create("one", 2), served.create("two", 1))
    await asyncio.gather(served.ask("POST", "/containers/prune"), served.ask("POST", "/containers/prune"))
    nothing = {"ContainersDeleted": None, "SpaceReclaimed": 0}
    assert await served.ask("POST", "/containers/prune") == (200, nothing)


async def test_filters_reach_the_engines_as_they_came(served: Served) -> None:
    await served.ask("POST", "/containers/prune", until=["1h"], label=["a", "b=c"], label_=["d"], node=["node-2"])
    asked = [call for engine in served.engines for call in engine.calls if call.path.endswith("/containers/prune")]
    assert len(asked) == 1
    sent = json.loads(parse_qs(asked[0].query)["filters"][0])
    assert sent == {"until": {"1h": True}, "label": {"a": True, "b=c": True}, "label!": {"d": True}}


async def test_one_engine_that_fails_does_not_keep_the_others(served: Served) -> None:
    kept, gone = await served.create("one", 1), await served.create("two", 2)
    served.engines[0].fail("POST", "/containers/prune", status=409, message="a prune operation is already running")
    status, reply = await served.ask("POST", "/containers/prune")
    assert (status, reply["ContainersDeleted"]) == (200, [gone])
    for engine in served.engines:
        engine.fail("POST", "/containers/prune", status=409, message="a prune operation is already running")
    status, reply = await served.ask("POST", "/containers/prune")
    assert (status, reply["message"].split(" (")[0]) == (409, "a prune operation is already running")
    assert kept in served.engines[0].containers


async def test_containers_by_label_and_node(served: Served) -> None:
    red = await served.create("red", 1, Labels={"colour": "red"})
    await served.create("blue", 1, Labels={"colour": "blue"})
    far = await served.create("far", 2, Labels={"colour": "red"})
    for filters, gone in (
        ({"label": ["colour=red"], "node": ["node-1"]}, red),
        ({"node": ["node-2"]}, far),
    ):
        assert (await served.ask("POST", "/containers/prune", **filters))[1]["ContainersDeleted"] == [gone]


async def test_an_image_with_a_user_on_any_node_stays_on_all(served: Served) -> None:
    await served.create("user", 2)
    assert (await served.ask("POST", "/images/create?fromImage=only&tag=1"))[0] == 200
    assert "only:1" in served.cluster.records.images
    status, reply = await served.ask("POST", "/images/prune", dangling=["false"])
    assert status == 200
    untagged = sorted(line["Untagged"].partition("@")[0] for line in reply["ImagesDeleted"] if "Untagged" in line)
    assert untagged == ["nginx:alpine", "only", "only:1"]
    deleted = [line["Deleted"] for line in reply["ImagesDeleted"] if "Deleted" in line]
    assert len(deleted) == len(set(deleted)) >= 2
    _, images = await served.ask("GET", "/images/json")
    assert [one["RepoTags"] for one in images] == [["busybox:latest"]]
    for node in served.cluster.view.nodes.values():
        assert len(node.images) == 1
    assert not {"only:1", "nginx:alpine"} & set(served.cluster.records.images)


async def test_dangling_images_are_the_engines_business(served: Served) -> None:
    for filters in ({}, {"dangling": ["true"]}):
        status, reply = await served.ask("POST", "/images/prune", **filters)
        assert (status, reply) == (200, {"ImagesDeleted": None, "SpaceReclaimed": 0})
    asked = [call for engine in served.engines for call in engine.calls if call.path.endswith("/images/prune")]
    assert len(asked) == 4


async def test_networks_without_endpoints_go(served: Served) -> None:
    made = {}
    for name, labels in (("used", {}), ("free", {}), ("marked", {"keep": "1"})):
        _, reply = await served.ask("POST", "/networks/create", {"Name": name, "Labels": labels})
        made[name] = reply["Id"]
    await served.create("stopped", 1, HostConfig={"NetworkMode": "free"})
    await served.put(Put(keys.endpoint(made["used"], "e1"), encode(Endpoint(node="N2", token="t"))))
    assert await served.ask("POST", "/networks/prune", until=["1h"]) == (200, {"NetworksDeleted": None})
    assert await served.ask("POST", "/networks/prune", label_=["keep"]) == (200, {"NetworksDeleted": ["free"]})
    assert await served.ask("POST", "/networks/prune") == (200, {"NetworksDeleted": ["marked"]})
    _, shown = await served.ask("GET", "/networks")
    assert [one["Name"] for one in shown] == ["bridge", "host", "none", "used"]
    assert not [call for engine in served.engines for call in engine.calls if call.path.endswith("/networks/prune")]


async def test_volumes_that_nobody_in_the_cluster_uses(served: Served) -> None:
    await served.create("user", 2, HostConfig={"Binds": ["used:/d"]})
    for name, more in (
        ("free", {}),
        ("marked", {"Labels": {"keep": "1"}}),
        ("nfs", {"DriverOpts": {"type": "nfs", "device": ":/x"}}),
    ):
        assert (await served.ask("POST", "/volumes/create", {"Name": name, **more}))[0] == 201
    _, nameless = await served.ask("POST", "/volumes/create", {})
    status, reply = await served.ask("POST", "/v1.45/volumes/prune")
    assert (status, reply["VolumesDeleted"]) == (200, [nameless["Name"]])
    _, reply = await served.ask("POST", "/v1.45/volumes/prune", all=["1"], label_=["keep"])
    assert reply["VolumesDeleted"] == ["free"]
    _, reply = await served.ask("POST", "/v1.41/volumes/prune")
    assert reply["VolumesDeleted"] == ["marked"]
    assert await served.ask("POST", "/v1.41/volumes/prune") == (200, {"VolumesDeleted": [], "SpaceReclaimed": 0})
    assert set(served.cluster.records.volumes) == {"nfs", "used"}


async def test_data_goes_with_the_record(served: Served) -> None:
    made = await served.create("user", 1, HostConfig={"Binds": ["data:/d"]}, Volumes={"/anonymous": {}})
    assert (await served.ask("DELETE", f"/containers/{made}"))[0] == 204
    assert len(served.engines[0].daemon.volumes) == 2
    _, reply = await served.ask("POST", "/v1.45/volumes/prune")
    (anonymous,) = reply["VolumesDeleted"]
    assert len(anonymous) == 64  # an engine of 20.10 sets no label on it
    _, reply = await served.ask("POST", "/v1.41/volumes/prune")
    assert reply["VolumesDeleted"] == ["data"]
    assert not served.engines[0].daemon.volumes
    assert not served.cluster.records.volumes


BAD = [
    ("containers", {"colour": ["x"]}, "invalid filter 'colour'"),
    ("networks", {"until": ["x"]}, 'failed to parse value as time or duration: "x"'),
    ("images", {"until": ["1h", "2h"]}, "more than one until filter specified"),
    ("images", {"dangling": ["x"]}, "invalid filter 'dangling=[x]'"),
    ("volumes", {"until": ["1h"]}, "invalid filter 'until'"),
    ("build", {"colour": ["x"]}, "failed to prune build cache: invalid filter 'colour'"),
]


async def test_bad_filters_touch_nothing(served: Served) -> None:
    for kind, filters, words in BAD:
        assert await served.ask("POST", f"/{kind}/prune", **filters) == (400, {"message": words}), kind
    assert not [call for engine in served.engines for call in engine.calls if "prune" in call.path]


async def test_a_nameless_volume_stays_anonymous_when_it_gets_its_place(served: Served) -> None:
    _, made = await served.ask("POST", "/volumes/create", {"Labels": {"a": "b"}})
    assert made["Labels"] == {"a": "b", "com.docker.volume.anonymous": ""}
    user = await served.create("user", 2, HostConfig={"Binds": [f"{made['Name']}:/d"]})
    nothing = (200, {"VolumesDeleted": [], "SpaceReclaimed": 0})
    assert await served.ask("POST", "/v1.45/volumes/prune") == nothing
    assert (await served.ask("DELETE", f"/containers/{user}"))[0] == 204
    assert (await served.ask("POST", "/v1.45/volumes/prune"))[1]["VolumesDeleted"] == [made["Name"]]
    assert not served.engines[1].daemon.volumes


async def test_a_network_that_an_engine_had_before_goes_only_unused(served: Served) -> None:
    engine = served.cluster.view.nodes["N2"].engine
    body = json.dumps({"Name": "old"}).encode()
    made = await engine.call("POST", "/networks/create", body=body, headers={"Content-Type": "application/json"})
    local = json.loads(made.body)["Id"]
    record = Network(id=local, name="old", mode=LOCAL, home="N2", created="2020-01-01T00:00:00Z")
    await served.put(
        Put(keys.network(local), encode(record)),
        Put(keys.netname("old"), local.encode()),
        Put(keys.netnode(local, "N2"), encode(NetworkCopy(id=local))),
    )
    user = await served.start("user", 2, HostConfig={"NetworkMode": "old"})
    assert await served.ask("POST", "/networks/prune") == (200, {"NetworksDeleted": None})
    assert (await served.ask("POST", f"/containers/{user}/kill"))[0] == 204
    assert await served.ask("POST", "/networks/prune", node=["node-1"]) == (200, {"NetworksDeleted": None})
    assert await served.ask("POST", "/networks/prune") == (200, {"NetworksDeleted": ["old"]})
    assert "old" not in [network.name for network in served.engines[1].daemon.networks.values()]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that hangs is given up within 0.2 s."""
    monkeypatch.setattr(health, "PULSE", 0.02)
    monkeypatch.setattr(health, "PATIENCE", 0.0)
    monkeypatch.setattr(monitor, "PROBE", monitor.PROBE.within(0.1))


async def test_an_engine_that_hangs_does_not_hold_up_the_others(impatient: None, served: Served) -> None:
    gone = await served.create("one", 2)
    await served.create("two", 1)
    served.engines[0].hang()
    async with asyncio.timeout(5):
        status, reply = await served.ask("POST", "/containers/prune")
        assert (status, reply["ContainersDeleted"]) == (200, [gone])
        assert (await served.ask("GET", "/system/df"))[0] == 200
    served.engines[0].resume()


async def test_a_record_that_a_container_takes_at_that_moment_stays(served: Served) -> None:
    await served.ask("POST", "/volumes/create", {"Name": "wanted"})
    store_txn = served.store.txn
    taken = Volume(name="wanted", owner="N1")

    async def late(compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        await store_txn([], [Put(keys.volume("wanted"), encode(taken))])
        return await store_txn(compares, ops)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served.store, "txn", late)
        _, reply = await served.ask("POST", "/v1.41/volumes/prune")
    assert reply["VolumesDeleted"] == []
    assert await served.store.get(keys.volume("wanted")) is not None
