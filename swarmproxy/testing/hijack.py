"""attach and exec start: the HTTP connection becomes a byte stream in both directions, with half-close.

As on an engine, bytes that follow the request's head before the 101 are lost; output is framed unless there is a TTY;
the end of the client's input ends what reads it, and the output still arrives; without upgrade headers the answer is a
200 without length that ends with the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web

from swarmproxy.model.errors import DockerError
from swarmproxy.testing import execs, running
from swarmproxy.testing.http import Asked, Reply, json_reply
from swarmproxy.testing.objects import Container, Exec
from swarmproxy.testing.programs import LASTING, Program

__all__ = ["attach", "exec_start", "frame"]

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
PROCESS_START = 0.01
"""Seconds from an exec's 101 to its first output. A real one takes longer; clients lose what comes with the head."""


def frame(stream: int, text: bytes) -> bytes:
    return bytes((stream, 0, 0, 0)) + len(text).to_bytes(4, "big") + text


class Tunnel(asyncio.Protocol):
    """Takes a connection over from aiohttp. Reading pauses while the peer does not read our output."""

    def __init__(self, asked: Asked, *, framed: bool) -> None:
        transport = asked.http.transport
        assert transport is not None
        self.asked = asked
        self.transport = transport
        self.framed = framed
        self.inner = asked.http.protocol
        self.closed = asyncio.Event()
        self.on_data: Callable[[bytes], None] = lambda _: None
        self.on_end: Callable[[], None] = lambda: None

    def open(self, head: bytes) -> None:
        self.transport.write(head)
        self.transport.set_protocol(self)
        self.asked.front.tunnels.add(self.transport)

    def send(self, stream: int, text: bytes) -> None:
        """Output; (0, b"") ends it, as `running.attach` says."""
        if not stream:
            self.finish()
        elif text and not self.transport.is_closing():
            self.transport.write(frame(stream, text) if self.framed else text)

    def finish(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.on_data(data)

    def eof_received(self) -> bool:
        self.on_end()
        return True

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.asked.front.tunnels.discard(self.transport)
        self.closed.set()
        self.inner.connection_lost(exc)


def _head(asked: Asked, *, tty: bool, own: bool) -> bytes:
    """The 101, or the 200 for a client that did not ask for an upgrade; `own`: with the engine's headers."""
    upgraded = "upgrade" in asked.http.headers.get("Connection", "").lower() and "Upgrade" in asked.http.headers
    kind = RAW
    if upgraded and not tty and not asked.daemon.flavour.old and asked.api >= (1, 42):
        kind = MULTIPLEXED
    lines = ["HTTP/1.1 101 UPGRADED" if upgraded else "HTTP/1.1 200 OK", f"Content-Type: {kind}"]
    if upgraded:
        lines += ["Connection: Upgrade", "Upgrade: tcp"]
    if own:
        lines += [f"{key}: {value}" for key, value in asked.front.headers.items()]
    return "\r\n".join((*lines, "", "")).encode()


def _raw_error(asked: Asked, error: DockerError) -> web.StreamResponse:
    """Not JSON, no length, connection closed."""
    status = f"{error.status} {HTTPStatus(error.status).phrase}"
    tunnel = Tunnel(asked, framed=False)
    tunnel.open(f"HTTP/1.1 {status}\r\nContent-Type: {RAW}\r\n\r\n{error.words}\r\n".encode())
    tunnel.finish()
    return web.Response()


async def attach(asked: Asked) -> web.StreamResponse:
    """POST /containers/{id}/attach"""
    daemon = asked.daemon
    try:
        container = daemon.container(asked.id)
        if container.status == "paused":
            raise DockerError(f"container {asked.id} is paused, unpause the container before attach", status=409)
    except DockerError as error:
        return _raw_error(asked, error)
    tty = bool(container.config.get("Tty"))
    tunnel = Tunnel(asked, framed=not tty)
    tunnel.open(_head(asked, tty=tty, own=False))
    wanted = {number for number, key in ((1, "stdout"), (2, "stderr")) if asked.get(key) in ("1", "true", "True")}
    if asked.get("logs") in ("1", "true", "True"):
        for line in container.log or ():
            if line.stream in wanted:
                tunnel.send(line.stream, line.text)
    daemon.emit_container(container, "attach")
    if asked.get("stream") not in ("1", "true", "True"):
        tunnel.finish()
    leave = running.attach(container, lambda stream, text: _output(tunnel, wanted, stream, text))
    if asked.get("stdin") in ("1", "true", "True") and container.config.get("OpenStdin"):
        _wire(tunnel, asked, container)
    try:
        await tunnel.closed.wait()
    finally:
        leave()
    return web.Response()


def _output(tunnel: Tunnel, wanted: set[int], stream: int, text: bytes) -> None:
    if not stream or stream in wanted:
        tunnel.send(stream, text)


def _wire(tunnel: Tunnel, asked: Asked, container: Container) -> None:
    tunnel.on_data = lambda data: running.feed(asked.daemon, container, data)
    tunnel.on_end = lambda: running.close_stdin(asked.daemon, container)


async def exec_start(asked: Asked) -> web.StreamResponse:
    """POST /exec/{id}/start"""
    daemon, front = asked.daemon, asked.front
    try:
        if not asked.call.body and daemon.flavour.old:
            raise DockerError("got EOF while reading request body", status=400)
        body = asked.tree(optional=True)
        exec_ = execs.find(daemon, asked.id)
        if body.get("Detach"):
            _detached(asked, exec_)
            return await front.send(asked.http, Reply(200))
        running.require_running(daemon, daemon.containers[exec_.container])
    except DockerError as error:
        return await front.send(asked.http, json_reply({"message": error.words}, error.status))
    tty = bool(exec_.body.get("Tty"))
    tunnel = Tunnel(asked, framed=not tty)
    tunnel.open(_head(asked, tty=tty, own=True))
    if exec_.started:
        tunnel.send(1, f"{_started_before(exec_)}\r\n".encode())
        tunnel.finish()
    else:
        _attached(asked, exec_, tunnel)
    await tunnel.closed.wait()
    return web.Response()


def _started_before(exec_: Exec) -> str:
    return f"Error: Exec command {exec_.id} {'is already running' if exec_.running else 'has already run'}"


def _missing(exec_: Exec) -> str:
    return (
        "OCI runtime exec failed: exec failed: unable to start container process: "
        f'exec: "{exec_.command[0]}": executable file not found in $PATH: unknown'
    )


def _detached(asked: Asked, exec_: Exec) -> None:
    if exec_.started:
        raise DockerError(_started_before(exec_), status=409)
    life = execs.begin(asked.daemon, exec_)
    if life.missing:
        execs.finish(asked.daemon, exec_, 126, failed=True)
        raise DockerError(_missing(exec_), status=400)
    if life.code is not None or exec_.command[0] not in LASTING:
        execs.finish(asked.daemon, exec_, life.code or 0)


def _attached(asked: Asked, exec_: Exec, tunnel: Tunnel) -> None:
    """The client may go; the process then keeps running, as on an engine."""
    life = execs.begin(asked.daemon, exec_)
    early: list[bytes | None] = []
    tunnel.on_data = early.append
    tunnel.on_end = lambda: early.append(None)
    asyncio.get_running_loop().call_later(PROCESS_START, _processed, asked, exec_, tunnel, life, early)


def _processed(asked: Asked, exec_: Exec, tunnel: Tunnel, life: Program, early: list[bytes | None]) -> None:
    if life.missing:
        tunnel.send(1, _missing(exec_).encode() + b"\r\n")
        execs.finish(asked.daemon, exec_, 126, failed=True)
        tunnel.finish()
        return
    if life.output:
        tunnel.send(1, life.output)
    reads = bool(exec_.body.get("AttachStdin"))
    if life.code is not None or not (reads or exec_.command[0] in LASTING):
        execs.finish(asked.daemon, exec_, life.code or 0)
        tunnel.finish()
        return

    def ended() -> None:
        execs.finish(asked.daemon, exec_, 0)
        tunnel.finish()

    if reads:
        tunnel.on_data = lambda data: tunnel.send(1, data)
        tunnel.on_end = ended
        for data in early:
            tunnel.on_end() if data is None else tunnel.on_data(data)
    container = asked.daemon.containers[exec_.container]
    running.attach(container, lambda stream, _: None if stream else tunnel.finish())
