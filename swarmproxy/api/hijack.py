"""Calls whose connection becomes a byte tunnel: attach, exec start, attach/ws, session, grpc.

The engine is asked first, on a connection of its own. Its 101 (or its 200 without a length, when the client asked for
no upgrade) goes to the client as it came, then the client's transport is taken from aiohttp and both are spliced: no
frame is looked at. Anything else is an ordinary reply. What the client sent ahead waits until then: an engine loses
bytes that come before its 101.

    client shuts its side   → shut towards the engine, reading goes on: that is how stdin ends
    engine shuts its side   → shut towards the client; when the client is not done `LINGER` later, both are closed
    either side is lost     → the other is closed, what it still has to read is flushed
    a side does not read    → the other side's reading pauses at 64 kB

The tunnel lives inside its handler: no task of its own, and when the handler ends both transports are closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from aiohttp import web

from swarmproxy.api.body import read_limited
from swarmproxy.api.call import C, Call
from swarmproxy.api.connection import Connection
from swarmproxy.api.passthrough import RelayedWhole, relayed
from swarmproxy.engine.client import Engine
from swarmproxy.engine.deadline import STREAM
from swarmproxy.engine.sockets import keep_alive
from swarmproxy.engine.tunnel import Tunnel
from swarmproxy.model.errors import DockerError

LINGER = 10.0
"""Seconds a client has to finish after the engine has."""
BODY_LIMIT = 1 << 20
"""Bytes of the JSON body of an exec start."""
_NEVER_SENT = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
_OURS = {"api-version": "Api-Version", "server": "Server"}
_HIGH = 64 << 10
"""Bytes; the transports' own high-water mark."""


class Taken(web.StreamResponse):
    """What aiohttp gets back for a connection that is its no more: writes nothing."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self._eof_sent = True
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


class End(asyncio.Protocol):
    """One side of a tunnel. `lost` is done when its connection is; `shut` when it will send no more."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.peer: End = self
        self.shut = False
        self._ended = 0.0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.peer.transport.write(data)

    def eof_received(self) -> bool:
        self.shut = True
        self._ended = asyncio.get_running_loop().time()
        if self.peer.shut:
            self.close()
            self.peer.close()
        else:
            self.peer.finish()
        return True

    def pause_writing(self) -> None:
        peer = self.peer.transport
        if not peer.is_closing():
            peer.pause_reading()

    def resume_writing(self) -> None:
        peer = self.peer.transport
        if not peer.is_closing():
            peer.resume_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        if exc is None:
            self.peer.close()
        else:
            self.peer.transport.abort()

    def finish(self) -> None:
        """No more will be sent to this side; where it cannot be told alone (TLS), the connection is closed."""
        if self.transport.is_closing():
            return
        if not self.transport.can_write_eof():
            self.close()
            return
        try:
            self.transport.write_eof()
        except OSError:
            self.transport.abort()

    def close(self) -> None:
        """Closes once all has been written."""
        self.transport.close()

    def ended_before(self, age: float) -> bool:
        """Whether it shut its side at least about `age` seconds ago."""
        return self.shut and asyncio.get_running_loop().time() - self._ended >= age / 2

    def begin(self) -> None:
        """Starts reading, unless the other side must drain first."""
        if not self.transport.is_closing() and self.peer.transport.get_write_buffer_size() < _HIGH:
            self.transport.resume_reading()


Ends = tuple[Callable[[asyncio.Transport], End], Callable[[asyncio.Transport], End]]
"""How the client's and the engine's side are made, for tunnels that somebody listens in to."""


async def hijack(call: Call[C], engine: Engine, path: str, *, ends: Ends = (End, End)) -> web.StreamResponse:
    """Tunnels `call` to `engine` under `path`; returns when the tunnel is over.

    Raises EngineUnreachable or EngineTimeout while the client can still be told.
    """
    request = call.request
    connection = request.protocol
    assert isinstance(connection, Connection)
    body = await read_limited(request, BODY_LIMIT) if request.body_exists else None
    if body is None and request.content_length is not None:
        body = b""
    upgrade = connection.holding
    connection.hold()
    try:
        tunnel = await engine.tunnel(
            call.method,
            path,
            query=call.query.raw,
            body=body,
            headers=_request_headers(request),
            deadline=call.route.deadline if not call.route.deadline.limited else STREAM,
            version=call.version,
        )
    except DockerError:
        _refused(connection, upgrade)
        raise
    call.status = tunnel.status
    try:
        if tunnel.endless:
            await _splice(connection, tunnel, _head(tunnel, call), ends)
            return Taken()
        reply = relayed(RelayedWhole, call, tunnel.status, tunnel.reason, tunnel.headers)
        content = await tunnel.body()
        _refused(connection, upgrade)
        if upgrade:
            reply.force_close()
        if tunnel.status not in (204, 304):
            reply.content_length = len(content)
        await reply.prepare(request)
        await reply.write_eof(content)
        return reply
    finally:
        tunnel.close()


def _refused(connection: Connection, upgrade: bool) -> None:
    """No tunnel comes of it. What a client sent behind an upgrade was meant for the engine, not as a next request."""
    if upgrade:
        connection.discard()
    else:
        connection.release()


def _request_headers(request: web.BaseRequest) -> Iterable[tuple[str, str]]:
    """As sent, repeated ones too; the host is a word without meaning and may be empty, which a server refuses."""
    yield "Host", "docker"
    for key, value in request.raw_headers:
        if key.lower() not in _NEVER_SENT:
            yield key.decode("latin-1"), value.decode("latin-1")


def _head(tunnel: Tunnel, call: Call[C]) -> bytes:
    lines = [f"HTTP/1.1 {tunnel.status} {tunnel.reason}"]
    for key, value in tunnel.headers:
        own = call.headers.get(_OURS.get(key.lower(), ""), value)
        lines.append(f"{key}: {own}")
    return "\r\n".join((*lines, "", "")).encode("latin-1")


async def _splice(connection: Connection, tunnel: Tunnel, head: bytes, ends: Ends) -> None:
    """Carries bytes both ways until both connections are over; closes them whatever happens."""
    transport, held, client_shut = connection.detach()
    client = ends[0](transport)
    transport, early, engine_shut = tunnel.take()
    engine = ends[1](transport)
    client.peer, engine.peer = engine, client
    try:
        for end in (client, engine):
            end.transport.set_protocol(end)
            keep_alive(end.transport)
        client.transport.write(head)
        if early:
            engine.data_received(early)
        if held:
            client.data_received(held)
        if client_shut:
            client.eof_received()
        if engine_shut:
            engine.eof_received()
        client.begin()
        engine.begin()
        await _over(client, engine)
    finally:
        client.transport.abort()
        engine.transport.abort()
        connection.forget()


async def _over(client: End, engine: End) -> None:
    """Returns when both sides are lost. A client that is still there `LINGER` after its engine ended is closed."""
    both = (client.lost, engine.lost)
    while True:
        await asyncio.wait(both, timeout=LINGER)
        if client.lost.done() and engine.lost.done():
            return
        if engine.ended_before(LINGER) and client.transport.get_write_buffer_size() == 0:
            client.close()
            engine.close()
