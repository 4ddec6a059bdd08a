"""Cluster networks through the CLI: one for all hosts, brought to a host with its first container there."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from swarmproxy.lab import Lab
from tests.clients.conftest import Place, Sleeper
from tests.conftest import EngineCli
from tests.shared_lab import Cli, Etcd, until


def network(docker: Cli, name: str) -> Any:
    (found,) = docker.json("network", "inspect", name)
    return found


def copies(lab: Lab, engine: EngineCli, name: str) -> list[str]:
    """Nodes whose engine has a network of that name."""
    return [
        node.name for node in lab.nodes if engine(node.target.number).lines("network", "ls", "-qf", f"name=^{name}$")
    ]


def reaches(docker: Cli, container: str, target: str) -> bool:
    return docker.run("exec", container, "ping", "-c", "1", "-W", "2", target, check=False).returncode == 0


@pytest.mark.parametrize("driver", ["", "overlay", "bridge"])
def test_any_usual_driver_gives_one_network_for_all_hosts(
    docker: Cli, on_nodes: Sleeper, engine: EngineCli, lab: Lab, driver: str
) -> None:
    made = docker("network", "create", *(["-d", driver] if driver else []), "front").strip()
    assert len(made) == 64
    assert copies(lab, engine, "front") == []  # nobody needs it yet
    names = on_nodes("--network", "front").split()
    assert copies(lab, engine, "front") == [node.name for node in lab.nodes]
    for name in names:
        for other in names:
            assert reaches(docker, name, other)
    for proxy in (1, 2):
        (found,) = docker.json("network", "inspect", made, to=proxy)
        assert (found["Id"], found["Name"], found["Driver"]) == (made, "front", driver or "bridge")
        assert {one["Name"] for one in found["Containers"].values()} == set(names)
        listed = docker.lines("network", "ls", "--format", "{{.Name}} {{.Driver}}", to=proxy)
        assert sorted(listed) == sorted(["bridge bridge", "host host", "none null", f"front {driver or 'bridge'}"])
    for name in names:
        (settings,) = docker.inspect(name)["NetworkSettings"]["Networks"].values()
        assert settings["NetworkID"] == made
        assert settings["IPAddress"] in docker("exec", name, "ip", "-4", "addr")


def test_it_comes_with_the_first_container_and_goes_with_the_network(
    docker: Cli, sleeper: Sleeper, engine: EngineCli, lab: Lab, place: Place, etcd: Etcd
) -> None:
    docker("network", "create", "front")
    sleeper("one", *place.pin, "--network", "front")
    assert copies(lab, engine, "front") == [place.node]
    refusal = docker.refused("network", "rm", "front")
    assert (
        f"error while removing network: network front id {network(docker, 'front')['Id']} has active endpoints"
        in refusal
    )
    docker("rm", "-f", "one")
    assert docker("network", "rm", "front") == "front\n"
    assert copies(lab, engine, "front") == []
    assert etcd.held(("networks/", "netnames/", "netnodes/", "vni/", "subnets/", "ipam/")) == []


def test_containers_are_kept_from_it_and_let_in_while_they_run(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    docker("network", "create", "front")
    docker("network", "create", "back")
    sleeper("one", *place.pin, "--network", "front")
    sleeper("two", "-e", "constraint:node!=" + place.node, "--network", "back")
    assert not reaches(docker, "two", "one")
    docker("network", "connect", "--alias", "guest", "front", "two")
    assert reaches(docker, "two", "one") and reaches(docker, "one", "guest") and reaches(docker, "one", "two")
    settings = docker.inspect("two")["NetworkSettings"]["Networks"]
    assert set(settings) == {"front", "back"} and "guest" in settings["front"]["Aliases"]
    assert settings["front"]["DriverOpts"] is None
    refusal = docker.refused("network", "connect", "front", "two")
    assert "endpoint with name two already exists in network front" in refusal
    docker("network", "disconnect", "front", "two")
    assert not reaches(docker, "one", "two")
    assert "is not connected to" in docker.refused("network", "disconnect", "front", "two")
    assert set(docker.inspect("two")["NetworkSettings"]["Networks"]) == {"back"}


def test_several_networks_at_once(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    for name in ("front", "back"):
        docker("network", "create", name)
        sleeper(f"in{name}", "--network", name)
    docker("create", "--init", "--name", "both", *place.pin, "--network", "front", "busybox", "sleep", "1000")
    docker("network", "connect", "back", "both")
    docker("start", "both")
    assert reaches(docker, "both", "infront") and reaches(docker, "both", "inback")
    assert reaches(docker, "infront", "both") and reaches(docker, "inback", "both")
    docker("restart", "-t", "1", "both")
    until(lambda: reaches(docker, "infront", "both") and reaches(docker, "inback", "both"), "both ways back")


def test_a_subnet_and_an_address_of_ones_own(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    docker(
        "network",
        "create",
        "--subnet",
        "10.77.0.0/24",
        "--gateway",
        "10.77.0.9",
        "--label",
        "a=b",
        "-o",
        "x=y",
        "front",
    )
    found = network(docker, "front")
    assert found["IPAM"]["Config"] == [{"Subnet": "10.77.0.0/24", "Gateway": "10.77.0.9"}]
    assert (found["Labels"], found["Options"]) == ({"a": "b"}, {"x": "y"})
    sleeper("one", *place.pin, "--network", "front", "--ip", "10.77.0.50")
    assert docker.inspect("one")["NetworkSettings"]["Networks"]["front"]["IPAddress"] == "10.77.0.50"
    refusal = docker.refused("run", "--rm", "--network", "front", "--ip", "10.77.0.50", "busybox", "true")
    assert "Address already in use" in refusal
    assert "Pool overlaps with other one on this address space" in docker.refused(
        "network", "create", "--subnet", "10.77.0.128/25", "again"
    )


def test_a_fixed_address_stays_over_a_restart(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    docker("network", "create", "--subnet", "10.78.0.0/24", "front")
    sleeper("one", *place.pin, "--network", "front", "--ip", "10.78.0.50")
    sleeper("two", "--network", "front")
    docker("restart", "-t", "1", "one")
    assert docker.inspect("one")["NetworkSettings"]["Networks"]["front"]["IPAddress"] == "10.78.0.50"
    until(lambda: reaches(docker, "two", "10.78.0.50"), "reached again", 5)


def test_an_internal_network_has_no_way_out(docker: Cli, on_nodes: Sleeper) -> None:
    docker("network", "create", "--internal", "inner")
    on_nodes("--network", "inner")
    assert reaches(docker, "c1", "c3")
    assert "default" not in docker("exec", "c1", "ip", "route")
    assert network(docker, "inner")["Internal"] is True


REFUSED = (
    "network rm nosuch",
    "network rm bridge",
    "network inspect nosuch",
    "network create bridge",
    "network create front",
    "network connect nosuch one",
    "network connect front nobody",
    "network disconnect nosuch one",
    "network disconnect front one",
    "run --rm --network nosuch busybox true",
)


def test_refusals_are_in_the_newer_engines_words(docker: Cli, engine: EngineCli, sleeper: Sleeper) -> None:
    theirs = engine(3)
    theirs("network", "create", "ours")
    theirs("run", "-d", "--init", "--name", "ones", "busybox", "sleep", "1000")
    docker("network", "create", "front")
    sleeper("one", "-e", "constraint:node==node-3")
    for words in REFUSED:
        expected = first_line(theirs.refused(*words.replace("front", "ours").replace(" one", " ones").split()))
        refusal = first_line(docker.refused(*words.split()))
        assert refusal.lower() == expected.replace("ours", "front").replace("ones", "one").lower(), words
    # asked, an engine takes 15 s to say this
    refusal = docker.refused("network", "create", "-d", "nodriver", "other", timeout=5)
    assert refusal == 'Error response from daemon: plugin "nodriver" not found\n'


def first_line(text: str) -> str:
    """Without the node, which comes after the engine's words, and without ids."""
    return re.sub(r"[0-9a-f]{64}", "ID", text.splitlines()[0].split(" (node-")[0])


@pytest.mark.parametrize("mode", ["host", "none", "bridge"])
def test_the_engines_own_networks(docker: Cli, sleeper: Sleeper, place: Place, mode: str) -> None:
    sleeper("one", *place.pin, "--network", mode)
    (settings,) = docker.inspect("one")["NetworkSettings"]["Networks"].values()
    found = network(docker, mode)
    assert settings["NetworkID"] == found["Id"]
    assert [one["Name"] for one in found["Containers"].values()] == ["one"]
    assert docker.lines("ps", "--filter", f"network={mode}", "--format", "{{.Names}}") == ["one"]


def test_joining_another_containers_network(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    docker("network", "create", "front")
    sleeper("one", *place.pin, "--network", "front")
    sleeper("joined", "--network", "container:one")
    assert docker.inspect("joined")["Node"]["Name"] == place.node
    assert docker("exec", "joined", "ip", "-4", "addr") == docker("exec", "one", "ip", "-4", "addr")


def test_compose_and_others_remove_by_id_and_prefix(docker: Cli) -> None:
    made = docker("network", "create", "front").strip()
    assert json.loads(docker("network", "inspect", made[:12]))[0]["Id"] == made
    docker("network", "rm", made)
    assert "front" not in docker("network", "ls")
