"""Where clients connect: TCP addresses and unix sockets, one handler behind all of them.

A socket file is made with mode 0660 before the first client can connect; one left behind by a dead process is removed,
one that still answers is not. Stopping: no new connections, then `grace` seconds for requests under way, then the rest
is cut, tunnels and endless streams among them.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
import stat
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from aiohttp import web

from swarmproxy.api.connection import Server
from swarmproxy.engine.address import Address

T = TypeVar("T")

BACKLOG = 1024
IDLE = 600.0
"""Seconds a client's connection may stay without a request; clients keep pools for minutes."""
SOCKET_MODE = 0o660
HEAD_LINE = 64 << 10
"""Bytes of a request line or a header: filters and registry credentials are long."""
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Site:
    """One place to listen at. `port` 0 lets the system choose."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Site:
        """`tcp://host:port`, `tcp://:port`, `unix:///path`, `host:port`. Raises ValueError."""
        rest = text.removeprefix("tcp://").removeprefix("http://").removeprefix("https://")
        if rest.startswith(":"):
            rest = f"0.0.0.0{rest}"
        if rest.endswith(":0"):
            return cls(Address.parse(rest[:-2] + ":1").host, 0)
        address = Address.parse(rest)
        return cls(address.host, address.port, address.path)

    @property
    def local(self) -> bool:
        """Whether only processes of this host can reach it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


class Listener:
    """Serves `handler` at any number of sites. `open` may be called while running; `close` ends all."""

    def __init__(self, handler: Handler) -> None:
        self._server = Server(
            handler,
            handler_cancellation=True,
            keepalive_timeout=IDLE,
            auto_decompress=False,
            access_log=None,
            max_line_size=HEAD_LINE,
            max_field_size=HEAD_LINE,
            lingering_time=2.0,
        )
        self._sockets: list[asyncio.Server] = []
        self._paths: list[Path] = []

    @property
    def connections(self) -> int:
        return len(self._server.connections)

    async def open(self, site: Site, *, tls: ssl.SSLContext | None = None, group: int | None = None) -> str:
        """Listens; the URL under which it can be reached (with the port the system chose).

        Args:
            group: numeric id of the group that may use a unix socket.

        Raises:
            OSError: the address is in use or not ours.
        """
        loop = asyncio.get_running_loop()
        if site.path:
            path = Path(site.path)
            _clear(path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(0o777 & ~SOCKET_MODE)
            try:
                sock.bind(site.path)
            except OSError as problem:
                sock.close()
                raise OSError(problem.errno, f"cannot listen at unix://{site.path}: {problem.strerror}") from problem
            finally:
                os.umask(before)
            if group is not None:
                os.chown(path, -1, group)
            sock.setblocking(False)
            self._sockets.append(await loop.create_unix_server(self._server, sock=sock, backlog=BACKLOG))
            self._paths.append(path)
            return f"unix://{site.path}"
        server = await loop.create_server(
            self._server, site.host, site.port, backlog=BACKLOG, ssl=tls, reuse_address=True
        )
        self._sockets.append(server)
        port = server.sockets[0].getsockname()[1]
        return f"tcp://{f'[{site.host}]' if ':' in site.host else site.host}:{port}"

    async def close(self, grace: float = 5.0) -> None:
        """Ends: at most `grace` seconds for requests under way."""
        for server in self._sockets:
            server.close()
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._sockets.clear()
        self._paths.clear()
        self._server.pre_shutdown()
        await self._server.shutdown(grace)


def _clear(path: Path) -> None:
    """Removes a socket file that nobody answers at."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise OSError(f"{path} exists and is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise OSError(f"another process serves {path}")


def raise_file_limit() -> int:
    """Takes all the file descriptors that the system grants: each stream needs two. The limit that now holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a process's main coroutine on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
