"""One network's DNS sockets, UDP and TCP, on the address that its containers were given.

The socket says which network, the source says who asks. Cluster names are answered at once, in the datagram callback
and without a task; anything dotted that is not ours goes to the host's resolvers; a single word that is not ours does
not exist. Every query is answered: silence costs a container seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable

from swarmproxy.dns import wire
from swarmproxy.dns.forward import Forwarder
from swarmproxy.dns.zone import Zone

__all__ = ["Answerer", "Listener"]

log = logging.getLogger(__name__)

IDLE = 10.0
"""Seconds that a TCP client may say nothing."""
_LENGTH = struct.Struct("!H")

Local = Callable[[wire.Question, str, int], bytes | None]


class Answerer:
    """Answers for one network; `nid` "" = the host's own socket, which only passes on."""

    def __init__(self, nid: str, zone: Zone, forwarder: Forwarder, ready: Callable[[], bool]) -> None:
        self._nid = nid
        self._zone = zone
        self._forwarder = forwarder
        self._ready = ready

    def local(self, question: wire.Question, source: str, limit: int) -> bytes | None:
        """The answer when it is ours to give; None = ask others. `limit` in bytes, 0 = none."""
        single = "." not in question.name
        if self._nid:
            if not self._ready():
                return wire.reply(question, code=wire.SERVFAIL, authoritative=False) if single else None
            asker = self._zone.asker(self._nid, source)
            if question.kind == wire.PTR and (ip := wire.reverse_address(question.name)) is not None:
                name = self._zone.reverse(asker, ip)
                return wire.reply(question, [wire.pointer_record(name, 2)], limit=limit) if name else None
            if (hosts := self._zone.find(asker, question.name)) is not None:
                return wire.reply(question, hosts.records(question.kind), limit=limit)
        return wire.reply(question, code=wire.NXDOMAIN) if single and question.name else None

    async def forward(self, packet: bytes, question: wire.Question, *, stream: bool) -> bytes:
        answer = await self._forwarder.ask(packet, stream=stream)
        return answer or wire.reply(question, code=wire.SERVFAIL, authoritative=False)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = wire.parse(data)
        if question is None:
            self._send(wire.refusal(data), addr)
        elif (answer := self._answerer.local(question, addr[0], question.size)) is not None:
            self._send(answer, addr)
        else:
            task = asyncio.get_running_loop().create_task(self._forward(data, question, addr))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def error_received(self, exc: Exception) -> None:
        log.debug("DNS: %s", exc)  # a client went away before its answer

    async def _forward(self, data: bytes, question: wire.Question, addr: tuple[str, int]) -> None:
        self._send(await self._answerer.forward(data, question, stream=False), addr)

    def _send(self, answer: bytes | None, addr: tuple[str, int]) -> None:
        if answer is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer, addr)


class Listener:
    """The two sockets of one network."""

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self._transport: asyncio.BaseTransport | None = None
        self._server: asyncio.Server | None = None

    async def open(self, datagrams: socket.socket, stream: socket.socket) -> None:
        """Takes over two bound sockets."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self._answerer), sock=datagrams)
        self._server = await asyncio.start_server(self._serve, sock=stream)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = str(writer.get_extra_info("peername", ("",))[0])
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                while True:
                    async with asyncio.timeout(IDLE):
                        packet = await reader.readexactly(_LENGTH.unpack(await reader.readexactly(2))[0])
                    answer = await self._answer(packet, source)
                    if answer is None:
                        return
                    writer.write(_LENGTH.pack(len(answer)) + answer)
                    await writer.drain()
        finally:
            writer.close()

    async def _answer(self, packet: bytes, source: str) -> bytes | None:
        question = wire.parse(packet)
        if question is None:
            return wire.refusal(packet)
        answer = self._answerer.local(question, source, 0)
        return answer if answer is not None else await self._answerer.forward(packet, question, stream=True)
