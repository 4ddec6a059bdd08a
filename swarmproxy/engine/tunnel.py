"""A raw connection to an engine: one request head out, one reply head back, then bytes.

For calls that may turn into something else (101, or 200 without a length). Until the reply's head is complete nothing
but the request is sent: an engine throws away what it has read ahead when it takes the connection over. After the head
reading stops, so that at most one read's worth waits here until `take` or `body`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

HEAD_LIMIT = 64 << 10
BODY_LIMIT = 1 << 20


class Tunnel(asyncio.Protocol):
    """Attributes: `status`, `reason`, `headers` (as sent, in order) once `send` has returned."""

    def __init__(self, forget: Callable[[Tunnel], None]) -> None:
        self._forget = forget
        self._transport: asyncio.Transport | None = None
        self._changed = asyncio.Event()
        self._buffer = bytearray()
        self._head_done = False
        self._eof = False
        self._lost: BaseException | None = None
        self.status = 0
        self.reason = ""
        self.headers: list[tuple[str, str]] = []

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._head_done and b"\r\n\r\n" in self._buffer:
            self._head_done = True
            self._pause()
        self._changed.set()

    def eof_received(self) -> bool:
        self._eof = True
        self._changed.set()
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        self._eof = True
        self._lost = exc or self._lost
        self._changed.set()
        self._forget(self)

    # -- the caller's side

    async def send(self, request: bytes) -> None:
        """Sends the request and waits for the reply's head; 1xx other than 101 are skipped.

        Raises ConnectionError when the connection ends first, or what comes is not HTTP.
        """
        assert self._transport is not None
        self._transport.write(request)
        while True:
            while not self._head_done:
                if self._eof or len(self._buffer) > HEAD_LIMIT:
                    raise self._lost or ConnectionError("connection closed before an answer")
                await self._wait()
            self._parse()
            if self.status == 101 or self.status >= 200:
                return
            self._head_done = b"\r\n\r\n" in self._buffer
            self._resume()

    def header(self, name: str) -> str | None:
        """The first of that name, in any case."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    @property
    def chunked(self) -> bool:
        return "chunked" in (self.header("Transfer-Encoding") or "").lower()

    @property
    def endless(self) -> bool:
        """Whether what follows the head is a stream of bytes up to the connection's end."""
        if self.status == 101:
            return True
        return self.status == 200 and self.header("Content-Length") is None and not self.chunked

    async def body(self, limit: int = BODY_LIMIT) -> bytes:
        """The body of an ordinary reply: by length, in chunks or up to the end, cut at `limit` bytes."""
        self._resume()
        length = self.header("Content-Length")
        if self.status in (204, 304):
            return b""
        if self.chunked:
            return await self._chunks(limit)
        wanted = min(int(length), limit) if length is not None and length.isdecimal() else limit
        while len(self._buffer) < wanted and not self._eof:
            await self._wait()
        return bytes(self._buffer[:wanted])

    def take(self) -> tuple[asyncio.Transport, bytes, bool]:
        """Hands the connection over, reading paused: transport, bytes that came early, whether the end has come."""
        assert self._transport is not None
        early = bytes(self._buffer)
        self._buffer.clear()
        return self._transport, early, self._eof

    def close(self) -> None:
        """Ends the connection, also one that was taken over."""
        self.abort()
        self._forget(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _parse(self) -> None:
        end = self._buffer.index(b"\r\n\r\n")
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        word, _, rest = lines[0].partition(" ")
        status, _, self.reason = rest.partition(" ")
        if not word.startswith("HTTP/1.") or not status.isdecimal():
            raise ConnectionError("the answer is not HTTP")
        self.status = int(status)
        pairs = (line.partition(":") for line in lines[1:])
        self.headers = [(key.strip(), value.strip()) for key, colon, value in pairs if colon]

    async def _chunks(self, limit: int) -> bytes:
        whole = bytearray()
        while len(whole) < limit:
            size = int((await self._line()).partition(b";")[0] or b"0", 16)
            while len(self._buffer) < size + 2 and not self._eof:
                await self._wait()
            whole += self._buffer[:size]
            del self._buffer[: size + 2]
            if size == 0 or self._eof:
                break
        return bytes(whole)

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if self._eof:
                return b""
            await self._wait()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()
