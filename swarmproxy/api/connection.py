"""A client's connection: aiohttp's, but able to become a tunnel without losing a byte.

aiohttp knows one kind of upgrade, websocket; what a client sends behind the head of `Upgrade: tcp` or `h2c` it would
read as the next request. So the head of each request is looked at before the parser sees it (about 1 µs): when it asks
for an upgrade, all that follows its body is held back here, for whoever takes the connection over. A request that was
not taken over gives the bytes back to the parser.

Also, a client that shuts its sending side keeps its connection while an upgrade is pending: that is how stdin ends.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo

from swarmproxy.api import replies

log = logging.getLogger(__name__)

_UPGRADE = re.compile(rb"^upgrade[ \t]*:", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"^content-length[ \t]*:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)
_CHUNKED = re.compile(rb"^transfer-encoding[ \t]*:.*chunked", re.IGNORECASE | re.MULTILINE)
HEAD_SECONDS = 60.0
"""For a request's head from its first byte to its end; then the connection is closed, as engines do."""
HELD_LIMIT = 64 << 10
"""Bytes of a client held while its upgrade is pending; beyond, reading pauses."""


class Connection(RequestHandler):
    """`holding` is True while bytes behind the present request are kept from the parser."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.holding = False
        self._due = 0
        self._held = bytearray()
        self._partial = b""
        self._late: asyncio.TimerHandle | None = None
        self._shut = False
        self._stopped = False

    def data_received(self, data: bytes) -> None:
        if self.holding:
            self._hold(data)
            return
        if self._partial:
            data, self._partial = self._partial + data, b""
        elif not self._idle() or not data:
            super().data_received(data)
            if self._messages and self._current_request is not None:
                self._break_upload(self._current_request)
            return
        end = data.find(b"\r\n\r\n")
        if end < 0 and len(data) < HELD_LIMIT and data[:1].isalpha():
            self._partial = data
            self._late = self._late or asyncio.get_running_loop().call_later(HEAD_SECONDS, self.force_close)
            return
        self._in_time()
        if end < 0 or b"pgrade" not in data or _UPGRADE.search(data, 0, end) is None or _CHUNKED.search(data, 0, end):
            super().data_received(data)
            return
        length = _LENGTH.search(data, 0, end)
        self.holding = True
        self._due = end + 4 + (int(length[1]) if length else 0)
        self._hold(data)

    def _in_time(self) -> None:
        """No head is waited for any more."""
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def connection_lost(self, exc: BaseException | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def _break_upload(self, request: web.BaseRequest) -> None:
        """A body that stops being HTTP would else be waited for until the client goes."""
        last = self._messages[-1][0]
        if isinstance(last, _ErrInfo) and not request.content.is_eof():
            request.content.set_exception(RequestPayloadError(last.message))

    def _idle(self) -> bool:
        """Whether the next byte begins a request."""
        if self._waiter is not None:
            return not self._waiter.done()
        return self._request_count == 0

    def _hold(self, data: bytes) -> None:
        if self._due:
            due, rest = data[: self._due], data[self._due :]
            self._due -= len(due)
            super().data_received(due)
            data = rest
        self._held += data
        if len(self._held) > HELD_LIMIT and not self._stopped and self.transport is not None:
            self._stopped = True
            self.transport.pause_reading()

    def hold(self) -> None:
        """Keeps what the client sends from now on from the parser; for upgrades that no header announced."""
        self.holding = True

    def release(self) -> None:
        """The present request stays a request: what was held is the next one's."""
        if not self.holding:
            return
        self.holding = False
        self._due = 0
        data, self._held = bytes(self._held), bytearray()
        if self._stopped and self.transport is not None:
            self._stopped = False
            self.transport.resume_reading()
        if self._shut and self.transport is not None:
            self.close()
        elif data:
            super().data_received(data)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP is refused in the API's shape; it is a client's fault and no traceback in our log."""
        if request.writer.output_size:
            raise ConnectionResetError("the reply has begun")
        log.log(logging.INFO if status < 500 else logging.ERROR, "request refused: %s", exc or message)
        words = (message or "").strip().partition("\n")[0].rstrip(":") or "the request cannot be read"
        reply = replies.error(status, words)
        reply.force_close()
        return reply

    def discard(self) -> None:
        """Drops what was held and takes nothing more; the connection closes behind the present reply."""
        self.holding = False
        self._held.clear()
        self.close()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks whether to keep the transport open
        self._shut = self.holding
        return self.holding

    def detach(self) -> tuple[asyncio.Transport, bytes, bool]:
        """Hands the transport over: it, the bytes held, whether the client has shut its sending side.

        The caller closes the transport, and calls `forget` when it has.
        """
        transport = self.transport
        assert transport is not None
        self.transport = None
        self.keep_alive(False)
        held, self._held = bytes(self._held), bytearray()
        return transport, held, self._shut

    def forget(self) -> None:
        """The connection is over: the server counts it no longer."""
        self._force_close = True
        self.holding = False
        if self._manager is not None:
            self._manager.connection_lost(self, None)


class Server(web.Server):
    """aiohttp's low-level server with our connections."""

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)
