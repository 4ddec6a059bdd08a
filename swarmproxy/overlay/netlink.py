"""The one thread that talks to the kernel about networks.

pyroute2 does not run under uvloop ("cannot open a UDP handle, invalid family 16"), and setns binds the thread that
calls it; so one thread with a plain selector loop owns all netlink sockets and every namespace switch, and the
process's main loop hands it coroutines. A socket costs one setns to open (some 20 µs) and is kept for the life of its
namespace.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from pyroute2 import AsyncIPRoute

from swarmproxy.overlay import namespace

__all__ = ["Netlink", "open_route", "route_socket"]

T = TypeVar("T")
_RECEIVE_BUFFER = 4 << 20


def route_socket(fd: int | None = None) -> socket.socket:
    """A netlink socket of the namespace, or of this thread's own. SOCK_DGRAM: asyncio takes no SOCK_RAW."""
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    if fd is None:
        return socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    with namespace.entered(fd):
        return socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)


def batch_socket(fd: int) -> socket.socket:
    """A blocking netlink socket for `batch`, its buffer large enough for a hundred answers and dumps."""
    sock = route_socket(fd)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    sock.bind((0, 0))
    return sock


async def open_route(fd: int | None = None) -> Any:
    """pyroute2's asynchronous socket in a namespace; only on the netlink thread. The caller closes it."""
    route = AsyncIPRoute(fileno=route_socket(fd).detach(), groups=0)
    await route.setup_endpoint()
    await route.bind()
    return route


class Netlink:
    """The thread. `host` is a netlink socket of the host's own namespace, for use inside it."""

    def __init__(self) -> None:
        self.host: Any = None
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._main, name="netlink", daemon=True)

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    async def start(self) -> None:
        """Raises OSError when the kernel refuses a netlink socket."""
        self._thread.start()
        self.host = await self.run(open_route())

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the thread; a cancelled wait cancels it there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def close(self) -> None:
        async def end() -> None:
            if self.host is not None:
                self.host.close()

        if self._thread.is_alive():
            await self.run(end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join, 2.0)
