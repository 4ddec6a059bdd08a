"""Members named by a list, by a file, or by nothing at all: one proxy on real engines without agents."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker import APIClient

from swarmproxy.lab import Lab
from tests.shared_lab import Cli, until

SLEEP = ("busybox", "sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait")


@pytest.fixture
def served(lab: Lab, tmp_path: Path) -> Iterator[Callable[..., Cli]]:
    """Starts a proxy of its own on a unix socket; the docker command that speaks to it."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> Cli:
        socket = tmp_path / "docker.sock"
        log = (tmp_path / "log").open("ab")
        command = (sys.executable, "-m", "swarmproxy", "manage", "-H", f"unix://{socket}", "--state", str(tmp_path))
        running.append(subprocess.Popen((*command, *words), stdout=log, stderr=log))
        docker = Cli([{**lab.client_env(1), "DOCKER_HOST": f"unix://{socket}"}])
        until(lambda: docker.run("info", check=False).returncode == 0, (tmp_path / "log").read_text(), seconds=15)
        return docker

    yield start
    for process in running:
        process.terminate()
        process.wait(20)


def addresses(lab: Lab) -> str:
    """10.x.y.[1:3]:2375"""
    host = lab.nodes[0].http_url.removeprefix("http://").partition(":")[0]
    return f"{host.rpartition('.')[0]}.[1:3]:2375"


def test_a_list_with_a_range(served: Callable[..., Cli], lab: Lab) -> None:
    docker = served("--insecure", f"nodes://{addresses(lab)}")
    until(lambda: docker("info").count("Status: Healthy") == 3, "three members")
    nodes = {docker.inspect(docker("run", "-d", *SLEEP).strip())["Node"]["Name"] for _ in range(3)}
    assert nodes == {"node-1", "node-2", "node-3"}
    made = APIClient(base_url=docker.environment()["DOCKER_HOST"]).create_network("alone")
    assert made["Warning"].startswith("no agent runs: the network lives on node-")
    docker("run", "-d", "--name", "one", "--network", "alone", *SLEEP)
    docker("run", "--rm", "--network", "alone", "busybox", "ping", "-c", "1", "-W", "2", "one")
    docker("rm", "-f", *docker.lines("ps", "-aq"))
    docker("network", "rm", "alone")


def test_without_insecure_plain_engines_are_refused(lab: Lab, tmp_path: Path) -> None:
    words = (sys.executable, "-m", "swarmproxy", "manage", "--state", str(tmp_path), f"nodes://{addresses(lab)}")
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "--insecure" in done.stderr


def test_a_file_that_is_edited(served: Callable[..., Cli], lab: Lab, tmp_path: Path) -> None:
    listed = tmp_path / "nodes"
    lines = [node.http_url.removeprefix("http://") for node in lab.nodes]
    listed.write_text(f"# two of three\n{lines[0]}\n{lines[1]}\n")
    docker = served("--insecure", f"file://{listed}")
    until(lambda: docker("info").count("Status: Healthy") == 2, "two members")
    listed.write_text("\n".join(lines))
    until(lambda: docker("info").count("Status: Healthy") == 3, "the third joins")
    listed.write_text(f"{lines[2]}\n")
    until(lambda: "Nodes: 1\n" in docker("info"), "two leave")
    docker("run", "--rm", "busybox", "true")


def test_nothing_at_all_is_the_local_engine(served: Callable[..., Cli], lab: Lab, tmp_path: Path) -> None:
    if Path("/var/run/docker.sock").exists():
        pytest.skip("this machine has an engine of its own")
    Path("/var/run/docker.sock").symlink_to(lab.folder / "n1" / "docker.sock")
    try:
        docker = served()
        until(lambda: docker("info").count("Status: Healthy") == 1, "one member")
        docker("network", "create", "net")
        docker("run", "-d", "--name", "web", "--network", "net", "--network-alias", "site", *SLEEP)
        docker("run", "--rm", "--network", "net", "busybox", "ping", "-c", "1", "-W", "2", "site")
        words = (sys.executable, "-m", "swarmproxy", "manage", "-H", "tcp://127.0.0.1:0", "--state", str(tmp_path))
        second = subprocess.run(words, capture_output=True, text=True, timeout=20)
        assert second.returncode == 1 and "one proxy may own an embedded store" in second.stderr
        docker("rm", "-f", "web")
        docker("network", "rm", "net")
    finally:
        Path("/var/run/docker.sock").unlink()
