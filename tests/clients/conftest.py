"""The two engine versions, as places to pin a container to, and a container that lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from swarmproxy.lab import Lab
from tests.clients.registry import program, serving
from tests.conftest import EngineCli
from tests.shared_lab import Cli

Sleeper = Callable[..., str]


@dataclass(frozen=True)
class Place:
    """One node: how to ask for it, and its engine's own command line."""

    node: str
    pin: tuple[str, str]
    engine: Cli


@pytest.fixture(params=[1, 3], ids=["20.10", "26.1"])
def place(request: pytest.FixtureRequest, engine: EngineCli) -> Place:
    node = f"node-{request.param}"
    return Place(node, ("-e", f"constraint:node=={node}"), engine(request.param))


@pytest.fixture
def sleeper(docker: Cli) -> Sleeper:
    """Starts a container that lives until it is removed, and leaves at once when asked to; its id."""

    def start(name: str, *words: str) -> str:
        return docker("run", "-d", "--init", "--name", name, *words, "busybox", "sleep", "1000").strip()

    return start


@pytest.fixture
def on_nodes(sleeper: Sleeper) -> Sleeper:
    """As `sleeper`, one container `c1`, `c2`, `c3` a node; all get the same words."""

    def start(*words: str) -> str:
        for number in (1, 2, 3):
            sleeper(f"c{number}", "-e", f"constraint:node==node-{number}", *words)
        return "c1 c2 c3"

    return start


@pytest.fixture(scope="session")
def registry(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    executable = program(lab.plan.cache)
    if executable is None:
        pytest.skip("docker-registry cannot be had from this machine's package sources")
    with serving(lab, tmp_path_factory.mktemp("registry"), executable) as address:
        yield address
