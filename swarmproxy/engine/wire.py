"""HTTP/1.1 to one engine for calls that want the whole reply: kept-alive connections, one request at a time on each.

A general client costs 0.3 ms a request here, three times what an engine takes for an inspect, and a proxy makes a dozen
such calls in the life of a container. Bodies of known size that are read whole need little of it: this costs 0.05 ms.
What streams, uploads or upgrades is not for here (see `stream` and `tunnel`).

A connection that is given back with nothing left over is used again, the newest first, and closed after `IDLE` seconds.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from multidict import CIMultiDict

from swarmproxy.engine.address import Address
from swarmproxy.engine.connect import IDLE, dial

HEAD_LIMIT = 64 << 10
_HEAD_END = b"\r\n\r\n"
_BODILESS = (204, 304)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[^\r]*close", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole reply."""

    status: int
    head: bytes
    body: bytes

    @property
    def headers(self) -> Mapping[str, str]:
        """Case-insensitive. Taken apart when asked for, which is seldom."""
        pairs = (line.partition(":") for line in self.head.decode("latin-1").split("\r\n")[1:])
        return CIMultiDict((name, value.strip()) for name, _, value in pairs)


def request(method: str, target: str, host: str, headers: Iterable[tuple[str, str]], body: bytes | None) -> bytes:
    """A request's bytes. Raises ValueError when a line holds a line break."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{key}: {value}" for key, value in headers)]
    if body is not None or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body or b'')}")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise ValueError("a line break in a request's head")
    return head.encode("utf-8", "surrogateescape") + _HEAD_END + (body or b"")


class Untouched(ConnectionError):
    """The connection ended before a byte of the answer: what can be repeated may be."""


class Wire(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._bodiless = False
        self._lost: BaseException | None = None
        self._ended = False
        self._reset()
        self.since = 0.0
        """Since when nobody uses it, loop time."""

    def _reset(self) -> None:
        self._data = bytearray()
        self._at = 0
        self._status = 0
        self._heading = b""
        self._length: int | None = None
        """Of the body; None = chunked, or to the connection's end."""
        self._chunked = False
        self._body = bytearray()
        self._reusable = True

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            self.abort()  # an engine says nothing unasked
            return
        self._data += data
        try:
            answer = self._parse()
        except (ValueError, IndexError):
            self._fail(ConnectionError("the answer is not HTTP"))
            return
        if answer is not None:
            self._finish(answer)

    def eof_received(self) -> bool:
        if self._waiter is not None and self._status and self._length is None and not self._chunked:
            self._reusable = False
            self._finish(Answer(self._status, self._heading, bytes(self._data[self._at :])))
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        self._ended = True
        self._lost = exc
        if self._waiter is not None:
            self._fail(self._broken())

    # -- the caller's side

    @property
    def usable(self) -> bool:
        """Open, and nothing of the last answer is left on it."""
        transport = self._transport
        return not self._ended and transport is not None and not transport.is_closing() and self._reusable

    async def ask(self, request: bytes, *, bodiless: bool = False) -> Answer:
        """Sends a request and waits for the whole reply.

        Args:
            bodiless: the request is a HEAD.

        Raises ConnectionError, Untouched when it certainly has no answer; a cancelled one must be followed by `abort`.
        """
        if self._ended or self._transport is None:
            raise self._broken()
        self._bodiless = bodiless
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- the answer

    def _parse(self) -> Answer | None:
        """The reply when it is complete. Raises ValueError or IndexError on what is no HTTP."""
        while not self._status:
            if not self._head():
                return None
        if self._chunked:
            return self._answer(bytes(self._body)) if self._chunks() else None
        if self._length is None or len(self._data) - self._at < self._length:
            return None
        body = bytes(self._data[self._at : self._at + self._length])
        self._at += self._length
        return self._answer(body)

    def _answer(self, body: bytes) -> Answer:
        if len(self._data) > self._at:
            self._reusable = False
        return Answer(self._status, self._heading, body)

    def _head(self) -> bool:
        """Reads the head, if it is there; an interim one (1xx) is skipped."""
        end = self._data.find(_HEAD_END, self._at)
        if end < 0:
            if len(self._data) - self._at > HEAD_LIMIT or not b"HTTP/1.".startswith(
                self._data[self._at : self._at + 7]
            ):
                raise ValueError
            return False
        head = bytes(self._data[self._at : end])
        self._at = end + len(_HEAD_END)
        if not head.startswith(b"HTTP/1."):
            raise ValueError
        status = int(head[9:12])
        if status >= 200 or status == 101:
            self._status, self._heading = status, head
            self._frame(head)
        return True

    def _frame(self, head: bytes) -> None:
        """How the body ends."""
        length = _LENGTH.search(head)
        self._chunked = _CHUNKED.search(head) is not None
        if self._bodiless or self._status in _BODILESS:
            self._chunked, self._length = False, 0
        elif not self._chunked and length is not None:
            self._length = int(length[1])
        ends = self._length is not None or self._chunked
        if not ends or head.startswith(b"HTTP/1.0") or _CLOSE.search(head) is not None:
            self._reusable = False

    def _chunks(self) -> bool:
        """Takes the chunks that have come; whether the last was among them."""
        data = self._data
        while (end := data.find(b"\r\n", self._at)) >= 0:
            size = int(data[self._at : end].partition(b";")[0], 16)
            if size == 0:
                return self._trailer(end)
            if len(data) < end + size + 4:
                break
            self._body += data[end + 2 : end + 2 + size]
            self._at = end + size + 4
        if self._at > HEAD_LIMIT:
            del data[: self._at]
            self._at = 0
        return False

    def _trailer(self, end: int) -> bool:
        """Behind the last chunk's size come trailers, and an empty line."""
        last = self._data.find(_HEAD_END, end)
        if last < 0:
            return False
        self._at = last + len(_HEAD_END)
        return True

    def _finish(self, answer: Answer) -> None:
        waiter, self._waiter = self._waiter, None
        reusable = self._reusable
        self._reset()
        self._reusable = reusable
        if waiter is not None and not waiter.done():
            waiter.set_result(answer)

    def _fail(self, error: BaseException) -> None:
        waiter, self._waiter = self._waiter, None
        self._reusable = False
        self.abort()
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def _broken(self) -> BaseException:
        if self._status or self._data:
            return ConnectionError("connection broke within the answer")
        if isinstance(self._lost, OSError) and self._lost.errno is not None:
            return Untouched(self._lost.errno, self._lost.strerror)
        return Untouched("connection closed before an answer")


class Pool:
    """The connections to one engine. Needs no loop before its first use."""

    def __init__(self, address: Address, tls: ssl.SSLContext | None) -> None:
        self._address = address
        self._tls = tls
        self._idle: list[Wire] = []
        self._busy: set[Wire] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def idle(self) -> Wire | None:
        """The connection that was used last, to be given back; None when none waits."""
        while self._idle:
            wire = self._idle.pop()
            if wire.usable:
                self._busy.add(wire)
                return wire
        return None

    async def dial(self) -> Wire:
        """A new connection, to be given back. Raises OSError; the caller sets the deadline."""
        _, wire = await dial(self._address, Wire, self._tls)
        self._busy.add(wire)
        return wire

    def give(self, wire: Wire) -> None:
        """Back. One that cannot be used again is closed."""
        self._busy.discard(wire)
        if self._closed or not wire.usable:
            wire.abort()
            return
        loop = asyncio.get_running_loop()
        wire.since = loop.time()
        self._idle.append(wire)
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE, self._close_old)

    def _close_old(self) -> None:
        loop = asyncio.get_running_loop()
        old = loop.time() - IDLE
        while self._idle and (self._idle[0].since <= old or not self._idle[0].usable):
            self._idle.pop(0).abort()
        self._sweep = loop.call_at(self._idle[0].since + IDLE, self._close_old) if self._idle else None

    def close(self) -> None:
        """Also what is under way: whoever waits gets ConnectionError."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for wire in (*self._idle, *self._busy):
            wire.abort()
        self._idle.clear()
