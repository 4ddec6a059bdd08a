"""Questions that are not the cluster's: asked of the host's own resolvers, from the host's namespace.

One socket a question: the answer can only come from the server asked, and a refused port is told at once. The servers
are tried in turn within one deadline; when none answers, the client hears SERVFAIL, never silence (a container's
resolver would wait 4 to 20 s for it).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import struct
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Forwarder", "resolvers"]

DEADLINE = 2.0
"""Seconds for one question, over all servers."""
AT_ONCE = 256
"""Questions under way; more are refused, so that a flood cannot take all descriptors."""
_LENGTH = struct.Struct("!H")


def resolvers(own: str, path: Path = Path("/etc/resolv.conf")) -> list[str]:
    """The servers the host itself asks, loopback ones included, without `own`."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = [words[1] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"]
    return [ip for ip in found if ip != own and _is_address(ip)]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


class _Query(asyncio.DatagramProtocol):
    """Waits for the answer with the question's id."""

    def __init__(self, number: bytes) -> None:
        self._number = number
        self.answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data[:2] == self._number and len(data) >= 12 and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        self.connection_lost(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_result(None)


class Forwarder:
    """`servers` are addresses, or (address, port) pairs."""

    def __init__(self, servers: Sequence[str | tuple[str, int]], *, deadline: float = DEADLINE) -> None:
        self._servers = [each if isinstance(each, tuple) else (each, 53) for each in servers]
        self._deadline = deadline
        self._free = AT_ONCE

    async def ask(self, packet: bytes, *, stream: bool = False) -> bytes | None:
        """The first server's answer, its bytes as they came; None when there is none in time. Never raises."""
        if not self._servers or self._free <= 0:
            return None
        self._free -= 1
        share = self._deadline / len(self._servers)
        try:
            for server in self._servers:
                with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                    async with asyncio.timeout(share):
                        answer = await (_by_stream if stream else _by_datagram)(server, packet)
                    if answer is not None:
                        return answer
        finally:
            self._free += 1
        return None


async def _by_datagram(server: tuple[str, int], packet: bytes) -> bytes | None:
    loop = asyncio.get_running_loop()
    transport, query = await loop.create_datagram_endpoint(lambda: _Query(packet[:2]), remote_addr=server)
    try:
        transport.sendto(packet)
        return await query.answer
    finally:
        transport.close()


async def _by_stream(server: tuple[str, int], packet: bytes) -> bytes | None:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(_LENGTH.pack(len(packet)) + packet)
        answer = await reader.readexactly(_LENGTH.unpack(await reader.readexactly(2))[0])
        return answer if answer[:2] == packet[:2] else None
    finally:
        writer.close()
