"""Listening in to BuildKit's tunnels: which tags a build sets, when its client hears that it is over, what it is FROM.

`/grpc` is HTTP/2 inside a tunnel. What a build is called stands in its Solve request alone, and engines before 23.0
send no event for the image. So the client's side is read along: of each HTTP/2 stream the first gRPC message, which is
a Solve request when it has exporters with names. On the engine's side, the frame that ends such a stream is held until
the tags mean its image: who has seen the end of a build finds its image. Only frame heads are looked at otherwise, no
byte is changed, and what cannot be read (compression, another protocol some day) passes unheeded.

`/session` carries the Dockerfile to the engine, a classic build has it in its tar: the bytes in which it names an image
are held until the node has that image, if the cluster does.

Cost: a few microseconds a frame, and one list of the node's images a build.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterator

from swarmproxy.api.hijack import End

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = 9
DATA, HEADERS = 0, 1
END_STREAM, PADDED = 0x1, 0x8
MESSAGE_LIMIT = 1 << 20
"""Bytes of a first message that are kept; a Solve of a Dockerfile is a few kB."""

LINE_LIMIT = 1024
NAMES_LIMIT = 50
"""Names looked for in one context: a folder of SQL is full of what looks like one."""
Before = Callable[[list[str]], Awaitable[None]]
"""What must be done about these names before the bytes that bear them pass. Must not raise."""
_FROM = re.compile(rb"(?:FROM[ \t]+(?:--platform=\S+[ \t]+)?|--from=)([A-Za-z0-9][\w./:@-]*)(?=[^\w./:@-])")


class Frames:
    """Cuts a byte stream into HTTP/2 frames, and gives every byte back in order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
        """Pieces: (bytes, head of the frame that they belong to, payload bytes of it that are still to come).

        A piece that begins a frame starts with its head.
        """
        self._buffer += data
        while self._buffer:
            if self._left:
                piece = bytes(self._buffer[: self._left])
                self._left -= len(piece)
                del self._buffer[: len(piece)]
                yield piece, b"", self._left
                continue
            if len(self._buffer) < HEAD:
                return
            head = bytes(self._buffer[:HEAD])
            length = int.from_bytes(head[:3], "big")
            piece = bytes(self._buffer[: HEAD + length])
            self._left = HEAD + length - len(piece)
            del self._buffer[: len(piece)]
            yield piece, head, self._left

    def rest(self) -> bytes:
        """A head that was never completed."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest


def stream_of(head: bytes) -> int:
    return int.from_bytes(head[5:9], "big") & 0x7FFFFFFF


class Solves:
    """The client's side: `tags` says, by HTTP/2 stream, which tags a build sets."""

    def __init__(self) -> None:
        self.tags: dict[int, list[str]] = {}
        self._frames = Frames()
        self._preface = len(PREFACE)
        self._frame = bytearray()
        self._head = b""
        self._messages: dict[int, bytearray] = {}

    def feed(self, data: bytes) -> None:
        if self._preface:
            skipped = min(self._preface, len(data))
            self._preface -= skipped
            data = data[skipped:]
        for piece, head, left in self._frames.feed(data):
            if head:
                self._head, self._frame = head, bytearray()
                piece = piece[HEAD:]
            kind, stream = self._head[3], stream_of(self._head)
            if kind == HEADERS and head:
                self._messages[stream] = bytearray()
            if kind != DATA or stream not in self._messages:
                continue
            self._frame += piece
            if not left:
                self._data(stream, self._head[4])

    def _data(self, stream: int, flags: int) -> None:
        payload = bytes(self._frame)
        if flags & PADDED and payload:
            payload = payload[1 : len(payload) - payload[0]]
        message = self._messages[stream]
        message += payload
        if len(message) < 5:
            return
        length = int.from_bytes(message[1:5], "big")
        if message[0] or length > MESSAGE_LIMIT:
            del self._messages[stream]
        elif len(message) >= 5 + length:
            del self._messages[stream]
            if tags := solve_tags(bytes(message[5 : 5 + length])):
                self.tags[stream] = tags


def solve_tags(message: bytes) -> list[str]:
    """Names under which a SolveRequest exports its image; none for any other message."""
    names: list[str] = []
    try:
        for number, value in _fields(message):
            if number == 4:  # ExporterAttrs, up to BuildKit 0.12
                names += _names(value)
            elif number == 13:  # Exporters
                for inner, attribute in _fields(value):
                    names += _names(attribute) if inner == 2 else ()
    except (ValueError, IndexError):
        return []
    return list(dict.fromkeys(names))


def _names(entry: bytes) -> list[str]:
    """Of a map's entry {1: key, 2: value}: what stands under the key `name`."""
    pair = dict(_fields(entry))
    if pair.get(1) != b"name":
        return []
    return [name for name in pair.get(2, b"").decode("utf-8").split(",") if name]


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each protobuf field; numbers of fields that are not bytes are skipped."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            _, at = _varint(message, at)
        elif kind == 2:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("not protobuf")
            yield key >> 3, message[at : at + length]
            at += length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("not protobuf")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("not protobuf")


class FromLines:
    """Finds the images that a Dockerfile names, in whatever carries it as plain text; each name is told once.

    Where it begins cannot be known, so text of other files may look like it: a name costs nothing unless the cluster
    has such an image. Names made of build arguments are not found.
    """

    def __init__(self) -> None:
        self._tail = b""
        self._seen: set[bytes] = {b"scratch"}

    def feed(self, data: bytes) -> list[str]:
        text = self._tail + data
        self._tail = text[-LINE_LIMIT:]
        if b"FROM" not in text and b"--from" not in text:
            return []
        found = [name for name in dict.fromkeys(_FROM.findall(text)) if name not in self._seen]
        found = found[: NAMES_LIMIT - len(self._seen)]
        self._seen.update(found)
        return [name.decode() for name in found]


class Asking(End):
    """The client's side of a tunnel, read along."""

    def __init__(self, transport: asyncio.Transport, solves: Solves) -> None:
        super().__init__(transport)
        self._solves = solves

    def data_received(self, data: bytes) -> None:
        self._solves.feed(data)
        super().data_received(data)


class Holding(End):
    """A side whose bytes wait while something is done about the names that they bear."""

    def __init__(self, transport: asyncio.Transport, before: Before) -> None:
        super().__init__(transport)
        self._before = before
        self._queue: deque[tuple[bytes, list[str]]] = deque()
        self._work: asyncio.Task[None] | None = None
        self._shut_held = False

    def put(self, piece: bytes, names: list[str]) -> None:
        self._queue.append((piece, names))
        if self._work is None:
            self._flow()
        else:
            self.transport.pause_reading()  # the other side's draining has let it go on

    def _flow(self) -> None:
        while self._queue:
            piece, names = self._queue[0]
            if names:
                self._queue[0] = piece, []
                self.transport.pause_reading()
                self._work = asyncio.create_task(self._do(names))
                return
            self._queue.popleft()
            self.peer.transport.write(piece)

    async def _do(self, names: list[str]) -> None:
        try:
            await self._before(names)
        finally:
            self._work = None
            self._flow()
            if self._work is None:
                if self._shut_held:
                    self.eof_received()
                self.begin()

    def eof_received(self) -> bool:
        self._shut_held = self._work is not None
        return True if self._shut_held else super().eof_received()

    def begin(self) -> None:
        if self._work is None:
            super().begin()

    async def settled(self) -> None:
        """Waits for what its client did not wait for."""
        if self._work is not None:
            await asyncio.wait((self._work,))


class Sending(Holding):
    """The client's side of a session: what its Dockerfile is FROM is brought to the node first."""

    def __init__(self, transport: asyncio.Transport, before: Before) -> None:
        super().__init__(transport, before)
        self._lines = FromLines()

    def data_received(self, data: bytes) -> None:
        self.put(data, self._lines.feed(data))


class Answering(Holding):
    """The engine's side: holds the end of a build that has set tags until they mean its image."""

    def __init__(self, transport: asyncio.Transport, before: Before, solves: Solves) -> None:
        super().__init__(transport, before)
        self._solves = solves
        self._frames = Frames()
        self._answered: set[int] = set()

    def data_received(self, data: bytes) -> None:
        for piece, head, _ in self._frames.feed(data):
            self.put(piece, self._over(head) if head else [])

    def _over(self, head: bytes) -> list[str]:
        """The tags of the build whose end begins with this frame. One that failed has no message in its answer."""
        kind, flags, stream = head[3], head[4], stream_of(head)
        if stream not in self._solves.tags or kind not in (DATA, HEADERS):
            return []
        if kind == DATA:
            self._answered.add(stream)
        if not flags & END_STREAM:
            return []
        tags = self._solves.tags.pop(stream)
        return tags if stream in self._answered else []

    def eof_received(self) -> bool:
        if rest := self._frames.rest():
            self.put(rest, [])
        return super().eof_received()
