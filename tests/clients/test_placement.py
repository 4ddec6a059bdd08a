"""Where containers go, and what is said when there is nowhere to go."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from swarmproxy.lab import Lab
from tests.clients.conftest import Sleeper
from tests.shared_lab import Cli, Etcd


def spread(docker: Cli) -> Counter[str]:
    return Counter(docker.lines("ps", "-a", "--format", '{{.Label "swarmproxy.node"}}'))


def node_of(docker: Cli, container: str) -> str:
    return str(docker.inspect(container)["Node"]["Name"])


def test_containers_are_spread_over_the_nodes(docker: Cli, lab: Lab) -> None:
    for _ in range(6):
        docker("create", "busybox")
    assert spread(docker) == {node.name: 2 for node in lab.nodes}


def test_creates_at_the_same_time_through_both_proxies_are_spread_too(docker: Cli, lab: Lab) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: docker("create", "--name", f"c{number}", "busybox", to=1 + number % 2), range(12)))
    assert set(spread(docker)) == {node.name for node in lab.nodes}
    assert max(spread(docker).values()) <= 6


@pytest.mark.parametrize(
    ("words", "nodes"),
    [
        (["-e", "constraint:node==node-2"], {"node-2"}),
        (["-e", "constraint:node!=node-2"], {"node-1", "node-3"}),
        (["-e", "constraint:node==/node-[12]/"], {"node-1", "node-2"}),
        (["-e", "constraint:node==~nosuch"], {"node-1", "node-2", "node-3"}),
        (["-l", 'com.docker.swarm.constraints=["node==node-3"]'], {"node-3"}),
        (["-l", 'com.docker.swarm.constraints=["node!=node-1", "node!=node-2"]'], {"node-3"}),
        (["-e", "constraint:node!=node-1", "-e", "affinity:container!=anchor"], {"node-3"}),
        (["-e", "affinity:container==anchor"], {"node-2"}),
        (["-e", "affinity:container!=anchor"], {"node-1", "node-3"}),
        (["-l", 'com.docker.swarm.affinities=["role==anchor"]'], {"node-2"}),
    ],
)
def test_constraints_and_affinities(docker: Cli, sleeper: Sleeper, words: list[str], nodes: set[str]) -> None:
    sleeper("anchor", "-e", "constraint:node==node-2", "-l", "role=anchor")
    for number in range(3):
        docker("create", "--name", f"c{number}", *words, "busybox")
    found = {node_of(docker, f"c{number}") for number in range(3)}
    assert found <= nodes and (len(nodes) == 1 or len(found) > 1)
    assert not [word for word in docker.inspect("c0")["Config"]["Env"] if ":" in word.partition("=")[0]]


def test_a_constraint_nobody_meets_is_refused_node_by_node(docker: Cli, lab: Lab, etcd: Etcd) -> None:
    refusal = docker.refused("create", "-e", "constraint:node==mars", "busybox")
    assert "Unable to find a node that satisfies the following conditions" in refusal
    assert "[node==mars" in refusal
    for node in lab.nodes:
        assert re.search(rf"{node.name}: .*node==mars", refusal)
    assert etcd.held() == []


def test_a_port_is_published_once_a_node_and_the_fourth_is_told_where_it_is_taken(docker: Cli, lab: Lab) -> None:
    for number in (1, 2, 3):
        docker("run", "-d", "--name", f"web{number}", "-p", "18090:80", "nginx:alpine")
    assert spread(docker) == {node.name: 1 for node in lab.nodes}
    for proxy in (1, 2):
        refusal = docker.refused("run", "-d", "-p", "18090:80", "nginx:alpine", to=proxy)
        for node in lab.nodes:
            assert re.search(rf"{node.name}: port 18090/tcp is taken by web\d", refusal), refusal
    docker("run", "-d", "--name", "udp", "-p", "18090:80/udp", "nginx:alpine")
    docker("rm", "-f", "web2")
    docker("run", "-d", "--name", "again", "-p", "18090:80", "nginx:alpine")
    assert spread(docker).total() == 4


def test_racing_for_a_port_leaves_one_a_node(docker: Cli, lab: Lab, etcd: Etcd) -> None:
    def run(number: int) -> bool:
        words = ("run", "-d", "--name", f"web{number}", "-p", "18091:80", "nginx:alpine")
        return docker.run(*words, check=False, to=1 + number % 2).returncode == 0

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(run, range(6))) == 3
    assert spread(docker) == {node.name: 1 for node in lab.nodes}
    assert len(etcd.under("names/")) == len(etcd.under("alloc/")) == 3


def test_memory_that_no_node_has_is_refused(docker: Cli, lab: Lab) -> None:
    refusal = docker.refused("create", "-m", "900g", "busybox")
    for node in lab.nodes:
        assert f"{node.name}: " in refusal
    assert "no resources available to schedule container" in refusal


def test_links_on_the_default_bridge_keep_containers_together(docker: Cli, sleeper: Sleeper) -> None:
    sleeper("db", "-e", "constraint:node==node-3")
    docker("run", "-d", "--init", "--name", "web", "--link", "db:database", "busybox", "sleep", "1000")
    assert node_of(docker, "web") == "node-3"
    docker("exec", "web", "ping", "-c", "1", "-W", "2", "database")
