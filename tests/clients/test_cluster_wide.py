"""The cluster as one thing by the Docker CLI: disk usage, its nodes in swarm mode's commands, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from swarmproxy.lab import Lab
from tests.clients.conftest import Sleeper
from tests.conftest import EngineCli
from tests.shared_lab import Cli, Etcd, request, until


def test_disk_usage_is_the_sum_of_the_engines(docker: Cli, on_nodes: Sleeper, lab: Lab) -> None:
    on_nodes("-v", "/anonymous")
    docker("exec", "c2", "sh", "-c", "dd if=/dev/urandom of=/file bs=1000 count=100 2>/dev/null")
    single = [request("GET", f"{node.http_url}/system/df")[1] for node in lab.nodes]
    for proxy in (1, 2):
        _, whole = request("GET", docker.environment(proxy)["DOCKER_HOST"].replace("tcp", "http") + "/system/df")
        assert whole["LayersSize"] == sum(one["LayersSize"] for one in single)
        ids = [image["Id"] for image in whole["Images"]]
        assert len(ids) == len(set(ids))
        for image in whole["Images"]:
            same = [other for one in single for other in one["Images"] if other["Id"] == image["Id"]]
            for field in ("Containers", "Size", "SharedSize"):
                assert image[field] == sum(other[field] for other in same), field
        assert sorted(one["Names"][0] for one in whole["Containers"]) == ["/c1", "/c2", "/c3"]
        sizes = {one["Id"]: one.get("SizeRw") for one in whole["Containers"]}
        assert sizes == {one["Id"]: one.get("SizeRw") for part in single for one in part["Containers"]}
        assert sorted(one["UsageData"]["RefCount"] for one in whole["Volumes"]) == [1, 1, 1]
    rows = docker.lines("system", "df", "--format", "{{.Type}}: {{.TotalCount}} {{.Active}} {{.Size}}")
    assert rows[1:3] == ["Containers: 3 3 100kB", "Local Volumes: 3 3 0B"]
    said = docker("system", "df", "-v")
    assert all(name in said for name in ("c1", "c2", "c3"))


@pytest.fixture
def as_it_was(docker: Cli) -> Iterator[None]:
    yield
    docker("node", "update", "--availability", "active", "--label-rm", "disk", "node-2", check=False)


def test_nodes_as_swarm_mode_shows_them(docker: Cli, lab: Lab) -> None:
    for proxy in (1, 2):
        lines = docker.lines("node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.Availability}} {{.EngineVersion}}",
                             to=proxy)  # fmt: skip
        assert lines == [f"{node.name} Ready Active {node.version()}" for node in lab.nodes]
    assert docker.lines("node", "ls", "-q", "--filter", "role=manager") == []
    (one,) = docker.lines("node", "ls", "-q", "--filter", "name=node-2")
    (shown,) = docker.json("node", "inspect", one)
    assert shown["Description"]["Hostname"] == "node-2"
    assert shown["Status"]["Addr"] == lab.nodes[1].address
    assert shown["Description"]["Resources"]["NanoCPUs"] > 0
    assert "Hostname:" in docker("node", "inspect", "--pretty", "node-1")
    assert docker.refused("node", "inspect", "nobody").strip().endswith("node nobody not found")
    assert docker("info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "inactive"


def test_a_drained_node_gets_nothing_new(docker: Cli, sleeper: Sleeper, etcd: Etcd, as_it_was: None) -> None:
    assert docker("node", "update", "--availability", "drain", "--label-add", "disk=ssd", "node-2") == "node-2\n"
    (record,) = [one for one in etcd.under("nodes/").values() if one["name"] == "node-2"]
    assert (record["availability"], record["labels"]) == ("drain", {"disk": "ssd"})
    ask = ("node", "ls", "--filter", "name=node-2", "--format", "{{.Availability}}")
    until(lambda: [docker(*ask, to=proxy) for proxy in (1, 2)] == ["Drain\n", "Drain\n"], "both know")
    for number in range(4):
        sleeper(f"c{number}")
    placed = {docker.inspect(f"c{number}")["Node"]["Name"] for number in range(4)}
    assert placed == {"node-1", "node-3"}
    docker("node", "update", "--availability", "active", "--label-rm", "disk", "node-2")
    until(lambda: [docker(*ask, to=proxy) for proxy in (1, 2)] == ["Active\n", "Active\n"], "both know")
    sleeper("back")
    assert docker.inspect("back")["Node"]["Name"] == "node-2"


def test_a_living_node_cannot_be_removed(docker: Cli) -> None:
    for words in (("rm",), ("rm", "-f")):
        assert "is not down and can't be removed" in docker.refused("node", *words, "node-3")
    assert len(docker.lines("node", "ls", "-q")) == 3
    assert "a node cannot be a manager" in docker.refused("node", "promote", "node-3")
    assert "This node is not a swarm manager" in docker.refused("node", "ps", "node-3")


def test_swarm_mode_is_refused_in_the_engines_words(docker: Cli, engine: EngineCli) -> None:
    for call in ("service ls", "service inspect x", "secret ls", "config ls", "stack ls", "swarm leave"):
        ours, theirs = (each.run(*call.split(), check=False) for each in (docker, engine(3)))
        assert (ours.stdout, ours.stderr, ours.returncode) == (theirs.stdout, theirs.stderr, theirs.returncode), call
    assert "This node is not a swarm manager" in docker.refused("swarm", "init")
    for number in (1, 2, 3):
        assert engine(number)("info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive\n"


def test_plugins_need_their_node(docker: Cli, engine: EngineCli) -> None:
    assert docker.lines("plugin", "ls", "-q") == []
    for call in ("enable", "rm", "disable"):
        ours = docker.refused("plugin", call, "nosuch")
        assert ours.split(" (name")[0].strip() == engine(3).refused("plugin", call, "nosuch").strip()
    assert 'plugin "nosuch" not found' in docker.refused("plugin", "enable", "node-1/nosuch")


def test_checkpoints_are_the_owners_business(docker: Cli, sleeper: Sleeper, lab: Lab) -> None:
    made = sleeper("one", "-e", "constraint:node==node-3")
    urls = lab.nodes[2].http_url, docker.environment(1)["DOCKER_HOST"].replace("tcp", "http")
    for method, path in (("GET", "checkpoints"), ("DELETE", "checkpoints/x")):
        theirs, ours = (request(method, f"{url}/containers/{made}/{path}") for url in urls)
        assert ours == theirs


def test_registry_calls_bring_the_engines_own_words(docker: Cli, engine: EngineCli) -> None:
    ours = docker.refused("search", "nosuch")
    assert ours.startswith("Error response from daemon: Get")
    assert ours.split(" on ")[0] == engine(1).refused("search", "nosuch").split(" on ")[0]


def test_images_by_age(docker: Cli) -> None:
    assert docker.lines("images", "-q", "--filter", "until=2000-01-01") == []
    assert docker.lines("images", "-q", "--filter", "until=1s") == docker.lines("images", "-q")
    assert "failed to parse value as time or duration" in docker.refused("images", "--filter", "until=x")
