"""Compose v2 without a change to the file; each call goes to the next proxy."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from swarmproxy.lab import Lab
from tests.conftest import Compose
from tests.shared_lab import Cli, Etcd, until

EXAMPLES = Path(__file__).parents[2] / "compose_examples"

PROJECT = """
services:
  web:
    image: nginx:alpine
    environment: {COLOUR: blue}
    stop_grace_period: 1s
  client:
    image: busybox
    init: true
    command: sleep 1000
    labels: {com.docker.swarm.affinities: '["com.docker.compose.service!=web"]'}
"""


@pytest.fixture
def project(tmp_path: Path, compose: Compose) -> Cli:
    """Two services on different hosts."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "compose.yaml").write_text(PROJECT)
    return compose(folder)


def ids(docker: Cli) -> set[str]:
    return set(docker.lines("ps", "-aq", "--no-trunc"))


def nodes(docker: Cli) -> dict[str, str]:
    """Container name → node."""
    form = '{{.Names}} {{.Label "swarmproxy.node"}}'
    return dict(line.split() for line in docker.lines("ps", "-a", "--format", form))


def addresses(project: Cli, service: str, name: str) -> set[str]:
    """What a service's container finds under a name."""
    said = project("exec", "-T", service, "nslookup", "-type=a", name, check=False).partition("\n\n")[2]
    return {line.split()[-1] for line in said.splitlines() if line.startswith("Address")}


def fetch(project: Cli) -> str:
    """The page of `web` as `client` gets it, or nothing."""
    return project("exec", "-T", "client", "timeout", "2", "wget", "-qO-", "http://web/", check=False)


def test_services_on_different_hosts_reach_each_other_by_name(project: Cli, docker: Cli, etcd: Etcd) -> None:
    project("up", "-d")
    where = nodes(docker)
    assert set(where) == {"shop-web-1", "shop-client-1"}
    assert len(set(where.values())) == 2
    assert "Welcome" in fetch(project)
    assert addresses(project, "client", "web") == addresses(project, "client", "shop-web-1")
    assert len(addresses(project, "client", "web")) == 1
    listed = [json.loads(line) for line in project.lines("ps", "--format", "json")]
    assert {(one["Service"], one["State"]) for one in listed} == {("web", "running"), ("client", "running")}
    assert "shop_default" in docker("network", "ls")
    project("down")
    assert ids(docker) == set()
    assert etcd.held(("names/", "alloc/", "ipam/", "endpoints/", "networks/")) == []


def test_a_second_up_recreates_nothing_and_a_change_only_what_changed(
    project: Cli, docker: Cli, tmp_path: Path
) -> None:
    project("up", "-d")
    before = ids(docker)
    for _ in range(2):
        project("up", "-d")
        assert ids(docker) == before
    file = tmp_path / "shop/compose.yaml"
    file.write_text(file.read_text().replace("blue", "red"))
    project("up", "-d")
    assert len(ids(docker) & before) == 1
    assert project("exec", "-T", "web", "sh", "-c", "echo $COLOUR") == "red\n"
    assert "Welcome" in fetch(project)
    assert len(addresses(project, "client", "web")) == 1


def test_scale_gives_an_address_a_replica(project: Cli, docker: Cli, lab: Lab) -> None:
    project("up", "-d", "--scale", "web=3")
    assert len(addresses(project, "client", "web")) == 3
    assert {node for name, node in nodes(docker).items() if "web" in name} <= {node.name for node in lab.nodes}
    before = ids(docker)
    project("up", "-d", "--scale", "web=4")
    assert len(ids(docker) - before) == 1 and before <= ids(docker)
    until(lambda: len(addresses(project, "client", "web")) == 4, "the fourth", 2)
    project("up", "-d", "--scale", "web=1")
    until(lambda: len(addresses(project, "client", "web")) == 1, "one is left", 2)


def test_stop_start_and_restart(project: Cli, docker: Cli) -> None:
    project("up", "-d")
    before = ids(docker)
    project("stop", "-t", "1")
    assert docker.lines("ps", "-q") == []
    project("start")
    project("restart", "-t", "1", "web")
    assert ids(docker) == before
    assert len(docker.lines("ps", "-q")) == 2
    until(lambda: "Welcome" in fetch(project), "web serves again")


def test_run_exec_and_logs(project: Cli, docker: Cli) -> None:
    project("up", "-d")
    said = project("run", "--rm", "-T", "client", "timeout", "2", "wget", "-qO-", "http://web/")
    assert "Welcome" in said
    done = project.run("run", "--rm", "-T", "client", "sh", "-c", "exit 4", check=False)
    assert done.returncode == 4
    assert project.run("exec", "-T", "client", "sh", "-c", "exit 6", check=False).returncode == 6
    assert project("exec", "-T", "client", "cat", input="piped") == "piped"
    assert len(ids(docker)) == 2
    project("run", "-d", "--name", "talker", "client", "sh", "-c", "echo talked")
    until(lambda: "talked" in docker("logs", "talker"), "it talked")


def test_following_logs_of_several_hosts(project: Cli, tmp_path: Path) -> None:
    file = tmp_path / "shop/compose.yaml"
    talk = "sh -c 'echo from $$HOSTNAME; sleep 1000'"
    file.write_text(file.read_text().replace("command: sleep 1000", f"command: {talk}"))
    project("up", "-d", "--scale", "client=3")
    with project.start("logs", "-f", "--no-color", "client") as live:
        for number in (1, 2, 3):
            live.says(f"client-{number}  | from ")


def test_up_in_the_foreground_ends_with_its_containers(project: Cli, docker: Cli, tmp_path: Path) -> None:
    file = tmp_path / "shop/compose.yaml"
    file.write_text(file.read_text().replace("command: sleep 1000", "command: sh -c 'echo done; exit 5'"))
    done = project.run("up", "--exit-code-from", "client", check=False)
    assert done.returncode == 5
    assert "client-1  | done" in done.stdout
    assert docker.lines("ps", "-q") == []


def test_example_two_services(compose: Compose, docker: Cli) -> None:
    example = compose(EXAMPLES / "two_services")
    example("up", "-d")
    web = docker.inspect("two_services-web-1")
    until(lambda: f"hello from {web['Id'][:12]}" in example("logs", "client"), "the client reads it")
    assert len(set(nodes(docker).values())) == 2
    example("down", "-t", "1")


def test_example_replicas(compose: Compose, docker: Cli) -> None:
    example = compose(EXAMPLES / "replicas")
    example("up", "-d")
    assert len(addresses(example, "probe", "web")) == 3
    assert len({node for name, node in nodes(docker).items() if "web" in name}) >= 2
    before = ids(docker)
    example("up", "-d", "--scale", "web=5")
    assert before <= ids(docker)
    until(lambda: len(addresses(example, "probe", "web")) == 5, "five addresses", 2)
    example("down", "-t", "1")


def test_example_volume_and_health(compose: Compose, docker: Cli, etcd: Etcd) -> None:
    example = compose(EXAMPLES / "volume_and_health")
    example("up", "-d", "--wait")
    store = docker.inspect("volume_and_health-store-1")
    written = f"written once by {store['Id'][:12]}"
    until(lambda: written in example("logs", "reader"), "the reader reads it")
    host, _, port = example("port", "store", "80").strip().rpartition(":")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{host}:{port}/data/first", timeout=5) as page:
        assert written in page.read().decode()
    example("down", "-t", "1")
    assert [record["name"] for record in etcd.under("volumes/").values()] == ["volume_and_health_data"]
    example("up", "-d", "--wait")
    assert docker.inspect("volume_and_health-store-1")["Node"]["Name"] == store["Node"]["Name"]
    until(lambda: written in example("logs", "reader"), "the data is still there")
    example("down", "-v", "-t", "1")
    assert etcd.under("volumes/") == {}
