"""Stores under test: one suite runs over all of them. etcd is the real one, started here on free ports."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from swarmproxy.discovery.etcd import EtcdStore
from swarmproxy.discovery.memory import MemoryStore
from swarmproxy.discovery.sqlite import SqliteStore
from swarmproxy.discovery.store import Store

_ports = itertools.count(20000 + os.getpid() % 8000)
_roots = itertools.count()


def free_port() -> int:
    """Below the ephemeral range, so that no client's socket takes it meanwhile."""
    for port in _ports:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError


class Etcd:
    """One etcd process on loopback; it can be killed, frozen and started again on its data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self._peer = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        client, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self._peer}"
        command = ["etcd", "--name=one", f"--data-dir={self.folder}", f"--initial-cluster=one={peer}"]
        command += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        command += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        command += ["--heartbeat-interval=10", "--election-timeout=100", "--logger=zap", "--log-level=error", *_unsafe()]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def wait(self) -> None:
        """Until the port is open; that there is a leader, the stores wait for themselves."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.01)
        raise AssertionError("etcd did not start")


def _unsafe() -> list[str]:
    helped = subprocess.run(["etcd", "--help"], capture_output=True, text=True)
    return ["--unsafe-no-fsync"] if "unsafe-no-fsync" in helped.stdout + helped.stderr else []


def _started(folder: Path) -> Iterator[Etcd]:
    if shutil.which("etcd") is None:
        pytest.skip("no etcd on PATH")
    server = Etcd(folder)
    server.start()
    server.wait()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """For tests that leave the process alone; each uses a root of its own."""
    yield from _started(tmp_path_factory.mktemp("etcd") / "data")


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    """For tests that kill or freeze it."""
    yield from _started(tmp_path / "etcd")


Open = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite", "etcd"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store
    if kind == "memory":
        made = MemoryStore()
    elif kind == "sqlite":
        made = SqliteStore(tmp_path / "store.db")
    else:
        server: Etcd = request.getfixturevalue("shared_etcd")
        made = EtcdStore([server.endpoint], root=f"/t{next(_roots)}/")
    yield made
    await made.close()
