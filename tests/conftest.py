"""Fixtures of the tests on real engines (clients, engines, faults): one lab for the whole run, real command lines.

    docker("run", "-d", …)      the Docker CLI, each call to the next of the two proxies; docker(…, to=2) names one
    compose(folder)("up", "-d") Compose in that folder, likewise in turn
    engine(3)("ps")             the CLI straight to one node's engine, for the truth
    lab, etcd                   faults and addresses; the store's own content

Whoever uses one of them is cleaned up after, which is a test of its own: when a test's containers are gone, the store
holds no claim, address or endpoint any more. SWARMPROXY_TEST_LAB names the lab; SWARMPROXY_TEST_LAB_KEEP=1 keeps it up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarmproxy.lab import Lab
from swarmproxy.lab.plan import BASE
from tests.shared_lab import Cleaner, Cli, Etcd, raised_lab

Compose = Callable[[Path], Cli]
EngineCli = Callable[[int], Cli]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The limit is a test's own: the first one's setup makes the lab, on a new machine with all its packages."""
    for item in items:
        if "shared_lab" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(120, func_only=True))


@pytest.fixture(scope="session")
def shared_lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("real engines need root")
    name, keep = os.environ.get("SWARMPROXY_TEST_LAB", "swpt"), bool(os.environ.get("SWARMPROXY_TEST_LAB_KEEP"))
    with raised_lab(name, BASE, keep=keep) as lab:
        yield lab


@pytest.fixture(scope="session")
def lab(shared_lab: Lab) -> Lab:
    return shared_lab


@pytest.fixture(scope="session")
def etcd(shared_lab: Lab) -> Etcd:
    return Etcd(shared_lab)


@pytest.fixture(scope="session")
def docker(shared_lab: Lab) -> Cli:
    return Cli([shared_lab.client_env(proxy.number) for proxy in shared_lab.proxies])


@pytest.fixture(scope="session")
def compose(docker: Cli) -> Compose:
    def of(folder: Path) -> Cli:
        return docker.in_turn(
            "docker", "compose", "--project-directory", str(folder), "-f", str(folder / "compose.yaml")
        )

    return of


@pytest.fixture(scope="session")
def engine(shared_lab: Lab) -> EngineCli:
    return lambda number: Cli([shared_lab.node_env(number)])


@pytest.fixture(scope="session")
def cleaner(docker: Cli, shared_lab: Lab) -> Cleaner:
    return Cleaner(shared_lab, docker)


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test that uses the shared lab; others, which don't, pass through."""
    if "shared_lab" not in request.fixturenames:
        yield
        return
    cleaner: Cleaner = request.getfixturevalue("cleaner")
    yield
    cleaner.clean()
