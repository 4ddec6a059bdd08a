"""kill -9 of a proxy at every failpoint of create, on real engines: nothing is wrong ten seconds later.

Nothing of the product judges: claims are read from etcd, containers from the engines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from swarmproxy.lab import Lab
from tests.faults.claims import wrong
from tests.shared_lab import Cli, Etcd, request, until

STEPS = ("image", "plan", "claim", "networks", "volumes", "engine", "bind", "refresh")
POINTS = [f"create.{step}.{when}" for step in STEPS for when in ("before", "after")]
MADE = POINTS.index("create.engine.after")
"""From here on an engine has made the container."""


@pytest.fixture
def truth(lab: Lab, etcd: Etcd) -> Callable[[], list[str]]:
    """Breaches between the store's claims and what the engines hold."""

    def ask() -> list[str]:
        members = {member["name"]: key.split("/")[1] for key, member in etcd.under("nodes/").items()}
        containers = {}
        for node in lab.nodes:
            _, listed = request("GET", f"{node.http_url}/containers/json?all=1")
            containers[members[node.name]] = {one["Id"]: one["Names"][0].strip("/") for one in listed}
        return wrong(etcd.under(""), containers)

    return ask


@pytest.fixture
def dying(lab: Lab) -> Iterator[Callable[[str], None]]:
    """Restarts proxy 1 so that it dies at a failpoint; afterwards it is an ordinary one again."""

    def arm(point: str) -> None:
        lab.kill_proxy(1)
        lab.start_proxy(1, env={"SWARMPROXY_FAILPOINTS": f"{point}=kill"})
        until(lambda: "Nodes: 3" in Cli([lab.client_env(1)])("info"), "the proxy knows its nodes")

    yield arm
    lab.kill_proxy(1)
    lab.up()
    until(lambda: "Nodes: 3" in Cli([lab.client_env(1)])("info"), "the proxy knows its nodes")


@pytest.mark.parametrize("point", POINTS)
def test_a_proxy_killed_in_create_leaves_nothing_wrong(
    docker: Cli, dying: Callable[[str], None], truth: Callable[[], list[str]], point: str
) -> None:
    docker("network", "create", "faulty", to=2)
    dying(point)
    create = ("create", "--name", "half", "--network", "faulty", "-v", "halfdata:/data", "busybox", "true")
    assert docker.run(*create, to=1, check=False).returncode != 0, f"{point} was never reached"
    until(lambda: not truth(), f"claims and containers agree again: {truth()}", seconds=12)
    again = docker.run(*create, to=2, check=False)
    if again.returncode:
        assert "Conflict. The container name" in again.stderr
        assert POINTS.index(point) >= MADE, again.stderr
        docker("rm", "half", to=2)
        docker(*create, to=2)
    assert not truth()
    docker("rm", "half", to=2)


@pytest.mark.parametrize("step", ["claim", "networks", "volumes", "engine", "bind", "refresh"])
def test_a_step_that_fails_is_undone(
    docker: Cli, lab: Lab, etcd: Etcd, truth: Callable[[], list[str]], step: str
) -> None:
    lab.kill_proxy(1)
    lab.start_proxy(1, env={"SWARMPROXY_FAILPOINTS": f"create.{step}.after=error"})
    try:
        until(lambda: "Nodes: 3" in docker("info", to=1), "the proxy knows its nodes")
        refused = docker.refused("create", "--name", "half", "-v", "halfdata:/data", "busybox", "true", to=1)
        assert f"failpoint create.{step}.after" in refused
        assert "left behind" not in refused
        assert not etcd.held(("names/", "alloc/"))
        until(lambda: "volumes/halfdata" not in etcd.under("volumes/"), "the volume's record is given up")
        assert not truth()
        assert docker.lines("ps", "-aq", to=2) == []
    finally:
        lab.kill_proxy(1)
        lab.up()
