"""Made through one proxy, used and removed through the other, without a pause: as behind a load balancer."""

from __future__ import annotations

import pytest

from tests.shared_lab import Cli, Etcd

ROUNDS = 4
"""Each takes every step through either proxy: the number of calls of a round is odd."""


def test_networks_and_their_containers(docker: Cli, etcd: Etcd) -> None:
    for _ in range(ROUNDS):
        made = docker("network", "create", "front").strip()
        assert docker.json("network", "inspect", "front")[0]["Id"] == made
        docker("run", "-d", "--init", "--name", "one", "--network", "front", "busybox", "sleep", "1000")
        assert docker("run", "--rm", "--network", made[:12], "busybox", "ping", "-c", "1", "-W", "2", "one")
        assert {each["Name"] for each in docker.json("network", "inspect", made)[0]["Containers"].values()} == {"one"}
        docker("rm", "-f", "one")
        docker("network", "rm", "front")
    assert etcd.held(("networks/", "netnames/", "vni/", "subnets/", "ipam/", "endpoints/")) == []


def test_networks_without_containers(docker: Cli) -> None:
    for number in range(ROUNDS):
        docker("network", "create", "--subnet", "10.76.0.0/24", "--label", f"round={number}", "front")
        assert docker.json("network", "inspect", "front")[0]["Labels"] == {"round": str(number)}
        docker("network", "rm", "front")
        assert docker.lines("network", "ls", "-qf", "name=front") == []
        assert "not found" in docker.refused("network", "inspect", "front")


def test_volumes(docker: Cli) -> None:
    for number in range(ROUNDS):
        docker("volume", "create", "--label", f"round={number}", "data")
        assert docker.json("volume", "inspect", "data")[0]["Labels"] == {"round": str(number)}
        pin = f"constraint:node==node-{1 + number % 3}"
        assert docker("run", "--rm", "-e", pin, "-v", "data:/d", "busybox", "sh", "-c", "ls /d; touch /d/old") == ""
        assert docker.json("volume", "inspect", "data")[0]["Labels"] == {"round": str(number)}
        docker("volume", "rm", "data")
        assert docker.lines("volume", "ls", "-q") == []
        assert "no such volume" in docker.refused("volume", "inspect", "data")


def test_tags(docker: Cli) -> None:
    for _ in range(ROUNDS):
        docker("tag", "busybox", "mine:1")
        assert docker("run", "--rm", "mine:1", "echo", "mine") == "mine\n"
        assert docker.lines("images", "mine", "--format", "{{.Tag}}") == ["1"]
        assert "mine:1" in docker.json("image", "inspect", "busybox")[0]["RepoTags"]
        docker("rmi", "mine:1")
        assert docker.lines("images", "-q", "mine") == []
        assert "No such image: mine:1" in docker.refused("create", "--pull", "never", "mine:1")


@pytest.mark.parametrize("kind", ["name", "id"])
def test_containers(docker: Cli, kind: str) -> None:
    for _ in range(ROUNDS):
        made = docker("create", "--init", "--name", "one", "busybox", "sleep", "1000").strip()
        one = "one" if kind == "name" else made
        docker("start", one)
        assert docker("exec", one, "echo", "there") == "there\n"
        docker("rename", one, "two")
        two = "two" if kind == "name" else made
        assert docker.inspect(two)["Name"] == "/two"
        docker("stop", "-t", "1", two)
        docker("start", two)
        docker("rm", "-f", two)
        assert "No such" in docker.refused("inspect", two)
        docker("create", "--name", "two", "busybox")
        docker("rm", "two")
