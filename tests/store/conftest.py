"""Stores under test: one suite runs over all of them. etcd is the real one, started here on free ports."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from swarmproxy.discovery.etcd import EtcdStore
from swarmproxy.discovery.memory import MemoryStore
from swarmproxy.discovery.sqlite import SqliteStore
from swarmproxy.discovery.store import Store

_taken: list[int] = []
"""Locks of the ports of this run, held to its end: other runs on this machine take others."""
_roots = itertools.count()


def free_port() -> int:
    """Below the ephemeral range, so that no client's socket takes it meanwhile."""
    folder = Path(tempfile.gettempdir()) / "swarmproxy-test-ports"
    folder.mkdir(exist_ok=True)
    while True:
        port = random.randrange(20000, 32000)
        lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(lock)
            continue
        _taken.append(lock)
        return port


class Etcd:
    """One etcd process on loopback; it can be killed, frozen and started again on its data."""

    def __init__(self, folder: Path, name: str = "one") -> None:
        self.folder = folder
        self.name = name
        self.port, peer = free_port(), free_port()
        self.peer = f"http://127.0.0.1:{peer}"
        self.cluster = f"{name}={self.peer}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        client, peer = f"http://127.0.0.1:{self.port}", self.peer
        command = ["etcd", f"--name={self.name}", f"--data-dir={self.folder}", f"--initial-cluster={self.cluster}"]
        command += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        command += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        command += [
            "--heartbeat-interval=10",
            "--election-timeout=100",
            "--logger=zap",
            "--log-level=error",
            *_unsafe(),
        ]
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

    def wipe(self) -> None:
        shutil.rmtree(self.folder)

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


def _started(*servers: Etcd) -> Iterator[tuple[Etcd, ...]]:
    if shutil.which("etcd") is None:
        pytest.skip("no etcd on PATH")
    cluster = ",".join(server.cluster for server in servers)
    try:
        for server in servers:
            server.cluster = cluster
            server.start()
        for server in servers:
            server.wait()
        yield servers
    finally:
        for server in servers:
            server.kill()


@pytest.fixture(scope="session")
def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """For tests that leave the process alone; each uses a root of its own."""
    for (server,) in _started(Etcd(tmp_path_factory.mktemp("etcd") / "data")):
        yield server


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    """For tests that kill or freeze it."""
    for (server,) in _started(Etcd(tmp_path / "etcd")):
        yield server


@pytest.fixture
def etcds(tmp_path: Path) -> Iterator[tuple[Etcd, ...]]:
    """A cluster of three."""
    yield from _started(*(Etcd(tmp_path / name, name) for name in ("a", "b", "c")))


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """Waits for a condition, with a limit, instead of sleeping for a guess."""

    async def wait(condition: Callable[[], object], timeout: float = 10.0) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, "the condition did not come true"
            await asyncio.sleep(0.005)

    return wait


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
