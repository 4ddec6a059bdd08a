"""Hosts, engines and agents that die, hang and come back: three different things, and lists never wait for any."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from swarmproxy.lab import Lab
from tests.shared_lab import Cli, Etcd, until

SLEEP = ("busybox", "sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait")
UNREACHABLE = "Cannot connect to the Docker daemon at tcp://"


@pytest.fixture(autouse=True)
def repaired(lab: Lab, docker: Cli) -> Iterator[None]:
    yield
    lab.heal()
    lab.up()
    for proxy in (1, 2):
        until(lambda proxy=proxy: docker("info", to=proxy).count("Status: Healthy") == 3, "all nodes are healthy", 20)
        until(lambda proxy=proxy: "Agent: none" not in docker("info", to=proxy), "all agents are alive", 20)


def info_of(docker: Cli, node: str, to: int) -> str:
    """The lines of `docker info` about one node."""
    text = docker("info", to=to)
    return text.partition(f"  {node}: ")[2].partition("\n  node-")[0]


def slowest_list(docker: Cli, calls: int = 10) -> float:
    """Seconds that the slowest of some `ps` took, over both proxies."""
    worst = 0.0
    for _ in range(calls):
        began = time.monotonic()
        docker("ps", "-a")
        worst = max(worst, time.monotonic() - began)
    return worst


def test_a_killed_engine_is_marked_at_once_and_its_containers_stay_listed(docker: Cli, lab: Lab) -> None:
    docker("run", "-d", "--name", "web", "-e", "constraint:node==node-2", *SLEEP)
    lab.kill(2)
    began = time.monotonic()
    for proxy in (1, 2):
        until(lambda proxy=proxy: "Status: Unhealthy" in info_of(docker, "node-2", proxy), "marked", seconds=2)
    assert time.monotonic() - began <= 2.5
    assert slowest_list(docker) < 1.0
    assert "web" in docker("ps", "-a", "--format", "{{.Names}} {{.Status}}")
    assert "(unreachable)" in docker("ps", "-a", "--format", "{{.Status}}")
    for words in (("inspect", "web"), ("stop", "web"), ("exec", "web", "true"), ("logs", "web"), ("rm", "-f", "web")):
        began = time.monotonic()
        refused = docker.refused(*words)
        assert UNREACHABLE in refused or "No such object" in refused, refused
        assert "(node-2: " in refused or words[0] == "inspect", refused
        assert time.monotonic() - began < 2
    made = docker("run", "-d", *SLEEP)
    assert docker.inspect(made.strip())["Node"]["Name"] != "node-2"
    lab.start_node(2)
    until(lambda: "Status: Healthy" in info_of(docker, "node-2", 1), "healthy again by itself", seconds=20)
    until(
        lambda: docker("ps", "-a", "--filter", "name=web", "--format", "{{.Status}}").startswith("Exited"), "it ended"
    )


def test_a_frozen_engine_holds_no_list_up(docker: Cli, lab: Lab) -> None:
    docker("run", "-d", "--name", "web", "-e", "constraint:node==node-1", *SLEEP)
    lab.stop(1, "engine")
    try:
        assert slowest_list(docker) < 1.0
        until(lambda: "Status: Unhealthy" in info_of(docker, "node-1", 1), "given up", seconds=15)
        assert slowest_list(docker) < 1.0
        assert UNREACHABLE in docker.refused("stop", "web", to=1)
    finally:
        lab.cont(1, "engine")
    for to in (1, 2):  # each proxy finds out by itself
        until(lambda to=to: "Status: Healthy" in info_of(docker, "node-1", to), "healthy again by itself", seconds=15)
    docker("stop", "-t", "1", "web")


def test_an_engine_that_dies_between_create_and_start(docker: Cli, lab: Lab, etcd: Etcd) -> None:
    docker("create", "--name", "half", "-e", "constraint:node==node-2", *SLEEP)
    lab.kill(2, "engine")
    refused = docker.refused("start", "half")
    assert UNREACHABLE in refused and "(node-2: " in refused
    lab.up()
    until(
        lambda: docker.run("start", "half", check=False).returncode == 0, "starts once the engine is back", seconds=20
    )
    docker("rm", "-f", "half")
    assert not etcd.held(("names/", "alloc/"))


def test_a_lost_agent_is_not_a_lost_engine(docker: Cli, lab: Lab) -> None:
    docker("network", "create", "net")
    lab.kill(3, "agent")
    until(lambda: "Agent: none" in info_of(docker, "node-3", 1), "the agent's lease ends", seconds=15)
    assert "Status: Healthy" in info_of(docker, "node-3", 1)
    docker("run", "--rm", "-e", "constraint:node==node-3", "busybox", "true")
    refused = docker.refused("run", "--rm", "--network", "net", "-e", "constraint:node==node-3", "busybox", "true")
    assert "node-3: " in refused and "agent" in refused
    docker("run", "--rm", "--network", "net", "busybox", "true")


def test_a_removed_member_is_gone_and_one_that_joins_appears(docker: Cli, lab: Lab) -> None:
    docker("run", "-d", "--name", "web", "-e", "constraint:node==node-2", *SLEEP)
    lab.kill(2, "agent")
    verb = (sys.executable, "-m", "swarmproxy", "node")
    where = ("--discovery", lab.etcd_url, "--insecure")
    until(
        lambda: subprocess.run((*verb, "rm", *where, "node-2"), capture_output=True).returncode == 0,
        "the member can be removed once its agent's lease has ended",
        seconds=15,
    )
    for proxy in (1, 2):
        until(lambda proxy=proxy: "Nodes: 2" in docker("info", to=proxy), "the member is gone", seconds=2)
    assert "web" not in docker("ps", "-a")
    lab.start_agent(2)
    for proxy in (1, 2):
        until(lambda proxy=proxy: "Nodes: 3" in docker("info", to=proxy), "the member has joined again", seconds=4)
    until(lambda: "web" in docker("ps", "--format", "{{.Names}}"), "its container is back, and its name")
    docker("rm", "-f", "web")
