"""The cheapest honest HTTP client: one kept-alive socket, the whole body read, nothing parsed that need not be.

A client that costs 100 µs a request would hide what is measured. The socket can be born in a network namespace, so that
a request to a proxy on the host crosses the same veth and bridge as one to an engine.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Self

from swarmproxy.overlay import namespace

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
SECONDS = 60.0
"""For one answer; far beyond anything that counts as a measurement."""


class Client:
    """One connection.

    Args:
        netns: path of the namespace that the socket is made in; None = this process's own.
    """

    def __init__(self, address: str, port: int, *, netns: Path | None = None) -> None:
        self._host = f"{address}:{port}".encode()
        if netns is None:
            self._socket = socket.socket()
        else:
            with netns.open("rb") as file, namespace.entered(file.fileno()):
                self._socket = socket.socket()
        self._socket.settimeout(SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect((address, port))
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """A request as it goes over the wire, ready to be sent many times."""
        head = f"{method} {path} HTTP/1.1\r\nHost: ".encode() + self._host + b"\r\n"
        if body is not None:
            head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        return head + b"\r\n" + (body or b"")

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """(status, body); of a chunked body the frames stay in. Raises OSError."""
        self._socket.sendall(request)
        data = self._rest
        while (end := data.find(_HEAD_END)) < 0:
            data += self._more()
        head, body = data[: end + 2], data[end + 4 :]
        status = int(head[9:12])
        if status in (204, 304):
            size = 0
        elif found := _LENGTH.search(head):
            size = int(found[1])
        elif _CHUNKED.search(head):
            return status, self._chunks(body)
        else:
            size = 0
        parts, have = [body], len(body)
        while have < size:
            parts.append(self._more())
            have += len(parts[-1])
        whole = b"".join(parts)
        self._rest = whole[size:]
        return status, whole[:size]

    def _chunks(self, data: bytes) -> bytes:
        while not (data.endswith(b"\r\n0\r\n\r\n") or data == b"0\r\n\r\n"):
            data += self._more()
        self._rest = b""  # no pipelining: the last chunk ends what has come
        return data

    def _more(self) -> bytes:
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the connection was closed in the middle of an answer")
        return data

    def must(self, method: str, path: str, body: bytes | None = None, *, status: tuple[int, ...]) -> bytes:
        """For what has to work. Raises RuntimeError with the answer otherwise."""
        code, answer = self.ask(self.request(method, path, body))
        if code not in status:
            raise RuntimeError(f"{method} {path}: {code} {answer[:300].decode(errors='replace')}")
        return answer
