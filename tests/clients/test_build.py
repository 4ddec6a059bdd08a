"""Builds by every client there is: what is built on one node is the cluster's, at once and through both proxies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Compose, EngineCli
from tests.shared_lab import Cli, Etcd, until

Context = Callable[..., Path]
NODES = (1, 2, 3)
OLD_COMMAND = Path("/usr/bin/docker")
"""Debian's command of 20.10, which has its own BuildKit client."""


def variant(docker: Cli, buildkit: str, command: str = "docker") -> Cli:
    environments = [{**one, "DOCKER_BUILDKIT": buildkit} for one in docker.environments]
    return Cli(environments, (command, "build"))


@pytest.fixture
def classic(docker: Cli) -> Cli:
    return variant(docker, "0")


@pytest.fixture
def old(docker: Cli) -> Cli:
    """BuildKit by `/build?version=2`."""
    told = subprocess.run([OLD_COMMAND, "--version"], capture_output=True, text=True, check=False).stdout
    if "version 20.10" not in told:
        pytest.skip("no docker command of 20.10 here")
    return variant(docker, "1", str(OLD_COMMAND))


@pytest.fixture(params=["classic", "old", "buildx"])
def build(request: pytest.FixtureRequest, docker: Cli) -> Cli:
    """`docker build`, by the classic builder, by BuildKit inside `/build`, by BuildKit's own protocol."""
    if request.param == "buildx":
        return variant(docker, "1")
    found: Cli = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["classic", "old"])
def placed(request: pytest.FixtureRequest) -> Cli:
    """Those whose build arguments can be seen."""
    found: Cli = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def context(tmp_path: Path) -> Context:
    def write(dockerfile: str, **files: str) -> Path:
        tmp_path.joinpath("Dockerfile").write_text(dockerfile)
        for name, text in files.items():
            tmp_path.joinpath(name).write_text(text)
        return tmp_path

    return write


def on(node: int) -> tuple[str, str]:
    return ("--build-arg", f"constraint:node==node-{node}")


def told(docker: Cli, tag: str, node: int) -> str:
    """What a container of this image on that node says."""
    return docker("run", "--rm", "-e", f"constraint:node==node-{node}", tag, "cat", "/said")


def having(engine: EngineCli, tag: str) -> list[int]:
    return [node for node in NODES if engine(node).lines("images", "-q", tag)]


def running(seconds: int) -> list[str]:
    """Processes `sleep SECONDS` of any node: they are processes of this machine, too."""
    found = subprocess.run(["pgrep", "-fx", f"sleep {seconds}"], capture_output=True, text=True, check=False)
    return found.stdout.split()


SAY = "FROM busybox\nCOPY text /said\n"


def test_what_is_built_runs_on_every_node(docker: Cli, engine: EngineCli, build: Cli, context: Context) -> None:
    folder = str(context(SAY + "RUN true\n", text="hello"))
    build("-t", "app:1", "-t", "host.invalid/team/app:2", folder)
    assert len(having(engine, "app:1")) == 1
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(lambda node: told(docker, "app:1", node), NODES)) == ["hello"] * 3
    assert having(engine, "app:1") == list(NODES)
    assert docker.inspect("app:1")["Id"] == docker.inspect("host.invalid/team/app:2")["Id"]


def test_a_rebuilt_tag_means_the_new_image_at_once(
    docker: Cli, engine: EngineCli, build: Cli, context: Context
) -> None:
    for number in (1, 2):
        build("-q", "-t", "app:1", "-t", f"app:{number}0", str(context(SAY, text=f"number {number}")))
        assert told(docker, "app:1", number) == f"number {number}"
    assert having(engine, "app:10")[0] in having(engine, "app:20"), "where the cache is"


def test_an_image_without_a_name(docker: Cli, build: Cli, context: Context) -> None:
    nameless = build("-q", str(context(SAY, text="nameless"))).strip()
    assert told(docker, nameless, 2) == "nameless"
    docker("rmi", nameless)


def test_an_unchanged_rebuild_takes_its_tag_back(docker: Cli, classic: Cli, context: Context) -> None:
    ids: dict[str, str] = {}
    for node, text in ((1, "one"), (2, "two"), (1, "one")):
        build_id = classic("-q", "-t", "app:1", *on(node), str(context(SAY, text=text))).strip()
        assert ids.setdefault(text, build_id) == build_id
        assert told(docker, "app:1", 3) == text


def test_constraints_choose_the_node_and_are_not_build_arguments(
    engine: EngineCli, placed: Cli, context: Context
) -> None:
    folder = str(context("FROM busybox\nARG colour\nRUN echo $colour > /said && env > /env\n"))
    for node in (2, 3):
        done = placed.run("-t", f"app:{node}", *on(node), "--build-arg", "colour=blue", folder)
        assert "not consumed" not in done.stdout + done.stderr
        assert having(engine, f"app:{node}") == [node]
        said = engine(node)("run", "--rm", f"app:{node}", "cat", "/said", "/env")
        assert said.startswith("blue\n") and "constraint" not in said


def test_a_constraint_that_nobody_fulfils_says_why(classic: Cli, context: Context) -> None:
    refusal = classic.refused("-t", "app:1", "--build-arg", "constraint:node==nowhere", str(context(SAY, text="x")))
    assert "Unable to find a node" in refusal and "node-3: " in refusal


def test_from_an_image_that_another_node_built(
    docker: Cli, engine: EngineCli, classic: Cli, build: Cli, context: Context
) -> None:
    for number in range(2):  # so that node-1 is where most images are
        classic("-q", "-t", f"other:{number}", *on(1), str(context(SAY, text=f"other {number}")))
    classic("-q", "-t", "base:1", *on(3), str(context(SAY, text="the base")))
    assert having(engine, "base:1") == [3]
    build("-t", "app:1", str(context("FROM base:1 AS first\nFROM base:1\nCOPY --from=first /said /again\n")))
    assert having(engine, "app:1") == [1]
    assert told(docker, "app:1", 2) == "the base"


def test_a_failed_build_fails_and_leaves_its_tag_alone(docker: Cli, build: Cli, context: Context) -> None:
    build("-q", "-t", "app:1", str(context(SAY, text="good")))
    refusal = build.refused("-t", "app:1", str(context("FROM busybox\nRUN echo trouble && exit 7\n")))
    assert re.search(r"(non-zero code|exit code): 7", refusal)
    assert told(docker, "app:1", 2) == "good"
    kept = docker.lines("ps", "-aq")
    assert bool(kept) == (build.environments[0]["DOCKER_BUILDKIT"] == "0"), "the classic builder alone keeps its step"


def test_an_image_nobody_has_is_the_engines_to_refuse(classic: Cli, context: Context) -> None:
    assert "nosuch" in classic.refused(str(context("FROM nosuch.invalid/image:1\n")))


def test_steps_show_and_hold_nothing_afterwards(docker: Cli, classic: Cli, context: Context, etcd: Etcd) -> None:
    with classic.start("-t", "app:1", str(context("FROM busybox\nRUN sleep 1.5\nENV a=b\nRUN true\n"))) as live:
        live.says("Running in")
        (step,) = until(lambda: docker.lines("ps", "-q"), "the step is listed")
        assert step in live.output
        assert live.ends() == 0
    assert docker.lines("ps", "-aq", to=1) == docker.lines("ps", "-aq", to=2) == []
    until(lambda: not etcd.held(), "nothing is held", 2)


def test_a_build_ends_with_its_client(docker: Cli, build: Cli, context: Context) -> None:
    seconds = 4000 + os.getpid() % 1000
    with build.start(str(context(f"FROM busybox\nRUN sleep {seconds}\n"))) as live:
        until(lambda: running(seconds), "the step runs")
        live.process.send_signal(signal.SIGINT)
        until(lambda: not running(seconds), "the step has ended", 2)
        assert live.ends() != 0
    until(lambda: not docker.lines("ps", "-aq"), "its container is gone", 2)


def test_a_killed_client_ends_its_build(docker: Cli, build: Cli, context: Context) -> None:
    seconds = 5000 + os.getpid() % 1000
    with build.start(str(context(f"FROM busybox\nRUN sleep {seconds}\n"))) as live:
        until(lambda: running(seconds), "the step runs")
        subprocess.run(["pkill", "-9", "-P", str(live.process.pid)], check=False)  # buildx is a child
        live.process.kill()
        until(lambda: not running(seconds), "the step has ended", 2)
    until(lambda: not docker.lines("ps", "-aq"), "its container is gone", 2)


def test_many_at_once_from_one_address(docker: Cli, classic: Cli, old: Cli, tmp_path: Path) -> None:
    """Two clients of each kind through the same proxy: each gets its own image."""
    clients = {"classic": classic, "old": old, "buildx": variant(docker, "1")}

    def one(name: str, number: int) -> str:
        folder = tmp_path / f"{name}{number}"
        folder.mkdir()
        folder.joinpath("Dockerfile").write_text("FROM busybox\nCOPY text /said\nRUN sleep 0.3\n")
        folder.joinpath("text").write_text(f"{name} {number}")
        pin = on(number) if name != "buildx" else ()
        clients[name]("-t", f"{name}:{number}", *pin, str(folder), to=1)
        return told(docker, f"{name}:{number}", number)

    with ThreadPoolExecutor() as pool:
        said = {(name, number): pool.submit(one, name, number) for name in clients for number in (1, 3)}
    assert {key: future.result() for key, future in said.items()} == {key: f"{key[0]} {key[1]}" for key in said}


def test_a_large_context_and_one_from_stdin(docker: Cli, build: Cli, context: Context) -> None:
    folder = context("FROM busybox\nCOPY much /much\nRUN wc -c < /much > /said\n", much="x" * 5_000_000)
    build("-t", "app:1", str(folder))
    assert told(docker, "app:1", 1) == "5000000\n"
    build("-t", "app:2", "-", input="FROM app:1\nRUN echo piped > /said\n")
    assert told(docker, "app:2", 1) == "piped\n"


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_compose_builds_and_runs(compose: Compose, docker: Cli, context: Context, buildkit: str) -> None:
    folder = context(SAY + 'CMD ["sleep", "1000"]\n', text="composed")
    folder.joinpath("compose.yaml").write_text("services:\n  one: {build: ., init: true, scale: 2}\n")
    plain = compose(folder)
    both = Cli([{**one, "DOCKER_BUILDKIT": buildkit} for one in plain.environments], (*plain.prefix, "-p", "built"))
    both("build")
    both("up", "-d", "--no-build")
    assert len({docker.inspect(one)["Node"]["Name"] for one in docker.lines("ps", "-q")}) == 2
    assert both("exec", "-T", "--index", "2", "one", "cat", "/said") == "composed"
    both("down", "-t", "1")


def test_a_build_on_a_network_of_the_cluster(docker: Cli, placed: Cli, context: Context) -> None:
    docker("network", "create", "yard")
    docker("run", "-d", "--name", "web", "--network", "yard", "-e", "constraint:node==node-3", "nginx:alpine")
    address = docker.inspect("web")["NetworkSettings"]["Networks"]["yard"]["IPAddress"]
    step = f"FROM busybox\nRUN timeout 5 wget -q -O /said http://{address}/\n"
    if placed.prefix[0] == "docker":  # BuildKit knows no networks but the engine's default, host and none
        placed("-t", "app:1", "--network", "yard", *on(1), str(context(step)))
        assert "Welcome" in told(docker, "app:1", 2)
    else:
        refusal = placed.refused("-t", "app:1", "--network", "yard", *on(1), str(context(step)))
        assert "network mode" in refusal


def test_clients_are_told_that_buildkit_is_here(docker: Cli) -> None:
    for environment in docker.environments:
        url = environment["DOCKER_HOST"].replace("tcp://", "http://") + "/_ping"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            assert answer.headers["Builder-Version"] == "2"


def test_buildx_by_name(docker: Cli, context: Context) -> None:
    docker("buildx", "build", "-t", "app:1", str(context(SAY, text="by name")))
    assert told(docker, "app:1", 2) == "by name"
    assert "running" in docker("buildx", "inspect")
