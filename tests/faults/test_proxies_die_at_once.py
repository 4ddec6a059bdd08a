"""Many proxies killed at the same moment, each at another failpoint of rename, network create and create.

They are started side by side, so the wait for their leases is one wait; a retry goes through a proxy that lives.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swarmproxy.lab import Lab
from tests.faults.conftest import Truth
from tests.shared_lab import Cli, Etcd, until

RENAME = [f"rename.{step}.{side}" for step in ("claim", "engine", "bind") for side in ("before", "after")]
NETWORK = ["network.claim.before", "network.claim.after"]
CREATE = ["create.claim.after", "create.engine.after"]
RENAMED = RENAME.index("rename.engine.after")
"""From here on the engine has renamed."""
GONE = 10.0
"""Seconds after which nothing may be wrong."""


class Socket(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


@dataclass(frozen=True)
class Doomed:
    """A proxy with one failpoint. `index` names what it works on."""

    index: int
    point: str
    process: subprocess.Popen[bytes]
    path: Path

    def ask(self, method: str, path: str, body: Any = None) -> int:
        """The status; 0 when the connection was cut instead."""
        connection = Socket(self.path)
        try:
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def ready(self) -> bool:
        """Knows the cluster."""
        return self.path.exists() and self.ask("GET", "/containers/c0/json") == 200

    def meets_its_end(self) -> None:
        done = {
            "rename": ("POST", f"/containers/c{self.index}/rename?name=r{self.index}", None),
            "network": ("POST", "/networks/create", {"Name": f"n{self.index}"}),
            "create": ("POST", f"/containers/create?name=m{self.index}", {"Image": "busybox"}),
        }
        assert self.ask(*done[self.point.partition(".")[0]]) == 0, f"{self.point} was never reached"
        assert self.process.wait(10) == -signal.SIGKILL


@pytest.fixture
def doomed(lab: Lab, docker: Cli, tmp_path: Path) -> Iterator[list[Doomed]]:
    for index in range(len(RENAME)):
        docker("create", "--name", f"c{index}", "busybox")
    found: list[Doomed] = []
    with ExitStack() as stack:
        log = stack.enter_context((tmp_path / "log").open("ab"))
        for index, point in enumerate([*RENAME, *NETWORK, *CREATE]):
            path = tmp_path / f"{index}.sock"
            words = ["-H", f"unix://{path}", "--insecure", "--state", str(tmp_path / str(index)), lab.etcd_url]
            process = subprocess.Popen(
                [sys.executable, "-m", "swarmproxy", "manage", *words],
                env={**os.environ, "SWARMPROXY_FAILPOINTS": f"{point}=kill"},
                stdout=log,
                stderr=log,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            found.append(Doomed(index, point, process, path))
        until(lambda: all(one.ready() for one in found), "all of them know the cluster", 60)
        yield found


def test_all_of_them_leave_nothing_wrong(docker: Cli, etcd: Etcd, truth: Truth, doomed: list[Doomed]) -> None:
    before = set(etcd.under("proxies/"))
    for one in doomed:
        one.meets_its_end()
    until(lambda: len(set(etcd.under("proxies/"))) == len(before) - len(doomed), "their leases have ended", GONE)
    until(lambda: not truth(), f"claims and containers agree: {truth()}", 3)
    called = set(docker.lines("ps", "-a", "--format", "{{.Names}}"))
    for one in doomed:
        kind, index = one.point.partition(".")[0], one.index
        if kind == "rename":
            name = f"r{index}" if RENAME.index(one.point) >= RENAMED else f"c{index}"
            assert name in called
            until(lambda name=name: f"names/{name}" in etcd.under("names/"), f"the claim is called {name}")
            docker("rename", name, f"again{index}")
        elif kind == "network":
            again = docker.run("network", "create", f"n{index}", check=False)
            assert (again.returncode == 0) == one.point.endswith("before"), again.stderr
            docker("run", "--rm", "--network", f"n{index}", "busybox", "true")
            docker("network", "rm", f"n{index}")
        else:
            again = docker.run("create", "--name", f"m{index}", "busybox", check=False)
            assert (again.returncode == 0) == (one.point == "create.claim.after"), again.stderr
            assert again.returncode == 0 or "Conflict. The container name" in again.stderr
    until(lambda: not truth(), f"claims and containers agree: {truth()}", 3)
    assert not [key for key in etcd.under("names/") if key.startswith(("names/r", "names/c"))]
