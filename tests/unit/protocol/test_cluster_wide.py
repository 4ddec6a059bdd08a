"""What is told of the whole cluster at once, and what is refused for all of it."""

from __future__ import annotations

from swarmproxy.discovery.store import Delete
from swarmproxy.model import keys
from tests.unit.protocol.conftest import Served, until

NO_MANAGER = "This node is not a swarm manager."


async def test_disk_usage_counts_copies_and_shows_containers_as_lists_do(served: Served) -> None:
    await served.start("one", 1, HostConfig={"Binds": ["data:/d"]})
    await served.start("two", 2)
    await served.ask("POST", "/volumes/create", {"Name": "placeless"})
    status, usage = await served.ask("GET", "/system/df")
    assert status == 200
    single = [await served.cluster.view.nodes[node].engine.call("GET", "/system/df") for node in ("N1", "N2")]
    assert all(answer.status == 200 for answer in single)
    busybox, nginx = sorted(usage["Images"], key=lambda one: str(one["RepoTags"]))
    assert (busybox["RepoTags"], busybox["Containers"]) == (["busybox:latest"], 2)
    assert (nginx["RepoTags"], nginx["Containers"]) == (["nginx:alpine"], 0)
    assert usage["LayersSize"] == busybox["Size"] + nginx["Size"] > 0
    assert [one["Names"] for one in usage["Containers"]] == [["/two"], ["/one"]]
    assert all("SizeRootFs" in one for one in usage["Containers"])
    assert {one["Name"]: one["UsageData"]["RefCount"] for one in usage["Volumes"]} == {"data": 1, "placeless": 0}
    _, part = await served.ask("GET", "/v1.45/system/df?type=volume")
    assert [part[key] is None for key in ("Images", "Containers", "Volumes", "BuildCache")] == [True, True, False, True]
    assert await served.ask("GET", "/v1.45/system/df?type=x") == (400, {"message": "unknown object type: x"})
    assert (await served.ask("GET", "/v1.41/system/df?type=x"))[0] == 200


async def test_disk_usage_without_a_node(served: Served) -> None:
    made = await served.start("one", 1)
    served.engines[0].fail("GET", "/system/df", status=500, message="no")
    _, usage = await served.ask("GET", "/system/df")
    assert [(one["Id"], "SizeRootFs" in one) for one in usage["Containers"]] == [(made, False)]
    assert sum(one["Containers"] for one in usage["Images"]) == 0


async def test_members_in_swarm_modes_shape(served: Served) -> None:
    status, nodes = await served.ask("GET", "/nodes")
    assert status == 200
    assert [(one["ID"], one["Description"]["Hostname"], one["Status"]["State"]) for one in nodes] == [
        ("N1", "node-1", "ready"),
        ("N2", "node-2", "ready"),
    ]
    engines = [one["Description"]["Engine"]["EngineVersion"] for one in nodes]
    assert engines == ["20.10.24+dfsg1", "26.1.5+dfsg1"]
    assert nodes[0]["Description"]["Resources"] == {"NanoCPUs": 4 * 10**9, "MemoryBytes": 8 << 30}
    assert "ManagerStatus" not in nodes[0]
    for filters, names in (
        ({"id": ["N1"]}, ["node-1"]),
        ({"name": ["node-2"]}, ["node-2"]),
        ({"name": ["node"], "role": ["worker"]}, ["node-1", "node-2"]),
        ({"role": ["manager"]}, []),
        ({"membership": ["pending"]}, []),
        ({"label": ["nosuch"]}, []),
    ):
        _, found = await served.ask("GET", "/nodes", **filters)
        assert [one["Description"]["Hostname"] for one in found] == names
    assert (await served.ask("GET", "/nodes", role=["boss"]))[0] == 400
    for reference in ("N2", "node-2"):
        assert (await served.ask("GET", f"/nodes/{reference}"))[1]["ID"] == "N2"
    assert await served.ask("GET", "/nodes/nosuch") == (404, {"message": "node nosuch not found"})
    _, info = await served.ask("GET", "/info")
    assert info["Swarm"]["LocalNodeState"] == "inactive"


async def test_a_node_that_is_down_or_without_agent_says_so(served: Served) -> None:
    await served.put(Delete(keys.agent("N1")))
    await served.engines[1].stop()
    await until(lambda: not served.cluster.view.nodes["N2"].healthy, "found down")
    _, (one, other) = await served.ask("GET", "/nodes")
    assert (one["Status"]["State"], one["Status"]["Message"][:13]) == ("ready", "no agent runs")
    assert other["Status"]["State"] == "down"
    assert other["Status"]["Message"]


async def test_update_names_the_version_it_changes(served: Served) -> None:
    _, node = await served.ask("GET", "/nodes/node-1")
    spec = {"Availability": "drain", "Role": "worker", "Labels": {"disk": "ssd"}}
    path = f"/nodes/N1/update?version={node['Version']['Index']}"
    assert (await served.ask("POST", path, spec))[0] == 200
    _, node = await served.ask("GET", "/nodes/node-1")
    assert node["Spec"] == spec
    status, refused = await served.ask("POST", path, spec)
    assert (status, refused["message"].endswith("update out of sequence")) == (500, True)
    path = f"/nodes/N1/update?version={node['Version']['Index']}"
    assert (await served.ask("POST", path, spec | {"Role": "manager"}))[0] == 400
    assert (await served.ask("POST", path, spec | {"Availability": "asleep"}))[0] == 400
    assert (await served.ask("GET", "/nodes/node-1"))[1]["Spec"] == spec


async def test_a_member_is_removed_once_its_agent_has_ended(served: Served) -> None:
    await served.create("held", 1)
    status, refused = await served.ask("DELETE", "/nodes/N1?force=1")
    assert (status, "is not down and can't be removed" in refused["message"]) == (400, True)
    await served.put(Delete(keys.agent("N1")))
    assert (await served.ask("DELETE", "/nodes/N1"))[0] == 200
    assert not served.cluster.records.names
    assert not served.cluster.records.allocs.get("N1")
    _, nodes = await served.ask("GET", "/nodes")
    assert [one["ID"] for one in nodes] == ["N2"]
    assert len(served.engines[0].containers) == 1


SWARM = """
    GET /services  GET /services/x  POST /services/create  POST /services/x/update  DELETE /services/x
    GET /services/x/logs  GET /tasks/x  GET /tasks/x/logs  POST /secrets/create  GET /configs/x  POST /swarm/init
""".split()


async def test_swarm_mode_is_refused(served: Served) -> None:
    for method, path in zip(SWARM[::2], SWARM[1::2], strict=True):
        status, refused = await served.ask(method, path, {})
        assert (status, refused["message"].startswith(NO_MANAGER)) == (503, True), path
        assert not [call for engine in served.engines for call in engine.calls if call.path.endswith(path)]


async def test_what_has_no_place_here(served: Served) -> None:
    status, refused = await served.ask("PUT", "/v1.45/volumes/x", {})
    assert (status, refused["message"][:18]) == (503, "volume update only")
    assert (await served.ask("PUT", "/v1.41/volumes/x", {}))[0] == 404
    assert await served.ask("GET", "/plugins") == (200, [])
    for method, path in (("GET", "/plugins/x/json"), ("POST", "/plugins/x/enable"), ("DELETE", "/plugins/x")):
        status, refused = await served.ask(method, path)
        assert (status, refused["message"].split(" (")[0]) == (404, 'plugin "x" not found')


async def test_images_by_age_and_what_they_share(served: Served) -> None:
    _, all_images = await served.ask("GET", "/images/json?shared-size=1")
    assert {one["Id"] for one in all_images}
    assert all("SharedSize" in one for one in all_images)
    assert (await served.ask("GET", "/images/json", until=["1"]))[1] == []
    assert len((await served.ask("GET", "/images/json", until=["0s"]))[1]) == len(all_images)
    assert (await served.ask("GET", "/images/json", until=["x"]))[0] == 400
