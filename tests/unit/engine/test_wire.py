from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from swarmproxy.engine.address import Address
from swarmproxy.engine.wire import Answer, Pool, Untouched, Wire, request
from tests.unit.api.plumbing import until

REPLIES = {
    "length": (b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
    "nothing": (b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", b"", True),
    "no content": (b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n", b"", True),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n00002\r\nlo\r\n0\r\n\r\n",
        b"hello",
        True,
    ),
    "chunk that looks like an end": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n\r\n0\r\n\r\nab\r\n0\r\n\r\n",
        b"\r\n0\r\n\r\nab",
        True,
    ),
    "trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        b"hello",
        True,
    ),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"hello",
        True,
    ),
    "closing": (b"HTTP/1.1 400 Bad\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    "more than asked": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!", b"hello", False),
}


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True


def connected() -> tuple[Wire, Transport]:
    wire, transport = Wire(), Transport()
    wire.connection_made(transport)
    return wire, transport


async def asked(wire: Wire, *, bodiless: bool = False) -> asyncio.Task[Answer]:
    task = asyncio.ensure_future(wire.ask(b"GET", bodiless=bodiless))
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize("name", REPLIES)
async def test_a_reply_is_read_however_it_is_cut(name: str) -> None:
    reply, body, reusable = REPLIES[name]
    for cut in range(1, len(reply)):
        wire, _ = connected()
        task = await asked(wire)
        wire.data_received(reply[:cut])
        if not task.done() and wire._waiter is not None:
            wire.data_received(reply[cut:])
        assert (await task).body == body
        assert wire.usable is reusable or cut == len(reply) - 1  # the byte too many comes unasked


async def test_a_connection_is_used_again_and_again() -> None:
    wire, _ = connected()
    for reply, body, reusable in REPLIES.values():
        if reusable:
            task = await asked(wire)
            wire.data_received(reply)
            assert (await task).body == body


async def test_head_has_no_body_whatever_its_length_says() -> None:
    wire, _ = connected()
    task = await asked(wire, bodiless=True)
    wire.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    answer = await task
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "5", b"")
    assert wire.usable


async def test_without_a_length_the_end_of_the_connection_is_the_end_of_the_body() -> None:
    wire, _ = connected()
    task = await asked(wire)
    wire.data_received(b"HTTP/1.1 200 OK\r\n\r\nhel")
    wire.data_received(b"lo")
    assert not task.done()
    wire.eof_received()
    assert (await task).body == b"hello"
    assert not wire.usable


@pytest.mark.parametrize(
    "reply",
    [b"SSH-2.0 hello\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"],
)
async def test_what_is_no_http_ends_the_connection(reply: bytes) -> None:
    wire, transport = connected()
    task = await asked(wire)
    wire.data_received(reply)
    with pytest.raises(ConnectionError, match="the answer is not HTTP"):
        await task
    assert transport.closing


async def test_a_break_before_the_answer_is_told_from_one_within() -> None:
    wire, _ = connected()
    task = await asked(wire)
    wire.connection_lost(None)
    with pytest.raises(Untouched, match="connection closed before an answer"):
        await task
    wire, _ = connected()
    task = await asked(wire)
    wire.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    wire.connection_lost(ConnectionResetError(104, "reset"))
    with pytest.raises(ConnectionError, match="connection broke within the answer") as caught:
        await task
    assert not isinstance(caught.value, Untouched)


async def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    wire, transport = connected()
    wire.data_received(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert transport.closing


def test_a_request_says_its_length_and_nothing_else_unasked() -> None:
    assert request("GET", "/x", "h:1", (), None) == b"GET /x HTTP/1.1\r\nHost: h:1\r\n\r\n"
    assert request("POST", "/x", "h:1", (), None) == b"POST /x HTTP/1.1\r\nHost: h:1\r\nContent-Length: 0\r\n\r\n"
    assert request("PUT", "/x", "h", [("A", "b")], b"{}") == (
        b"PUT /x HTTP/1.1\r\nHost: h\r\nA: b\r\nContent-Length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize("bad", ["/x\r\nEvil: 1", "/x\n", "/x\r"])
def test_a_line_break_does_not_get_into_a_head(bad: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        request("GET", bad, "h", (), None)
    with pytest.raises(ValueError, match="line break"):
        request("GET", "/", "h", [("X", bad)], None)


@contextlib.asynccontextmanager
async def pool() -> AsyncIterator[tuple[Pool, list[asyncio.StreamWriter]]]:
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    found = Pool(Address.parse(f"127.0.0.1:{server.sockets[0].getsockname()[1]}"), None)
    try:
        yield found, writers
    finally:
        found.close()
        server.close()


async def test_the_connection_used_last_is_used_next() -> None:
    async with pool() as (found, _):
        one, other = await found.dial(), await found.dial()
        found.give(one)
        found.give(other)
        assert found.idle() is other
        assert found.idle() is one
        assert found.idle() is None


async def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    async with pool() as (found, writers):
        wire = await found.dial()
        found.give(wire)
        await until(lambda: writers)
        writers[0].close()
        await until(lambda: not wire.usable)
        assert found.idle() is None


async def test_closing_breaks_what_is_under_way() -> None:
    async with pool() as (found, _):
        wire = await found.dial()
        task = await asked(wire)
        found.close()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(task, 5)
        found.give(wire)
        assert found.idle() is None
