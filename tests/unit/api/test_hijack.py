from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from swarmproxy.api.route import Route
from swarmproxy.engine.deadline import STREAM
from tests.unit.api.plumbing import ID, Reader, Writer, both_loops, proxy, read_head, read_request, settled, until

ATTACH = Route("POST", "/containers/{container}/attach", deadline=STREAM, hijack=True)
ATTACH_WS = Route("GET", "/containers/{container}/attach/ws", deadline=STREAM, hijack=True)
EXEC = Route("POST", "/exec/{exec}/start", deadline=STREAM, hijack=True)
TOP = Route("GET", "/containers/{container}/top")
UPGRADED = (
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
    b"Connection: Upgrade\r\nUpgrade: tcp\r\nApi-Version: 1.40\r\n\r\n"
)
UPGRADE = b"Host: \r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
ASK = b"POST /v1.41/containers/web/attach?stream=1 HTTP/1.1\r\n" + UPGRADE + b"Content-Length: 0\r\n\r\n"


async def echo(reader: Reader, writer: Writer) -> None:
    """Reads the request, upgrades, returns every byte; after the client's end says so and ends."""
    await read_request(reader)
    writer.write(UPGRADED)
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"<end of stdin>")
    writer.write_eof()
    await reader.read()


@pytest.fixture(params=["tcp", "unix"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path if request.param == "unix" else None


@both_loops
async def test_the_end_of_stdin_reaches_the_engine_and_the_output_after_it_reaches_the_client(place: Path) -> None:
    async with proxy(echo, ATTACH, tmp_path=place) as running:
        reader, writer = await running.connect()
        writer.write(ASK)
        head = await read_head(reader)
        assert head.startswith("HTTP/1.1 101 UPGRADED\r\n")
        assert "Upgrade: tcp\r\n" in head
        assert "Api-Version: 1.41\r\n" in head
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.write_eof()
        assert await reader.read() == b"<end of stdin>"
        writer.close()


@both_loops
async def test_the_engine_gets_the_full_id_and_the_headers_as_sent() -> None:
    seen: list[str] = []

    async def script(reader: Reader, writer: Writer) -> None:
        head, body = await read_request(reader)
        seen.extend((head, body.decode()))
        writer.write(UPGRADED)

    async with proxy(script, ATTACH, EXEC) as running:
        reader, writer = await running.connect()
        writer.write(ASK.replace(b"Content-Length", b"X-Meta: a\r\nX-Meta: b\r\nContent-Length"))
        await reader.read()
        writer.close()
        body = b'{"Detach":false,"Tty":true}'
        reader, writer = await running.connect()
        ask = b"POST /exec/0123/start HTTP/1.1\r\n" + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(body) + body
        writer.write(ask)
        await reader.read()
        writer.close()
    lines = seen[0].split("\r\n")
    assert lines[0] == f"POST /v1.41/containers/{ID}/attach?stream=1 HTTP/1.1"
    assert {"Upgrade: tcp", "Connection: Upgrade", "Content-Length: 0", "Host: docker"} <= set(lines)
    assert [line for line in lines if line.startswith("X-Meta")] == ["X-Meta: a", "X-Meta: b"]
    assert seen[2].startswith("POST /v1.41/exec/0123/start HTTP/1.1")
    assert seen[3] == body.decode()


@both_loops
async def test_bytes_sent_with_the_request_wait_for_the_101(place: Path) -> None:
    quiet: list[bool] = []

    async def script(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        try:
            async with asyncio.timeout(0.1):
                quiet.append(not await reader.read(1))
        except TimeoutError:
            quiet.append(True)
        writer.write(UPGRADED + b"engine first|")
        writer.write(await reader.readexactly(10))
        assert await reader.read() == b""

    async with proxy(script, ATTACH, tmp_path=place) as running:
        reader, writer = await running.connect()
        writer.write(ASK + b"early\nlate\n"[:6])
        writer.write(b"late")
        writer.write_eof()
        await read_head(reader)
        assert await reader.read() == b"engine first|early\nlate"
        writer.close()
    assert quiet == [True]


@both_loops
async def test_bytes_behind_a_body_are_not_part_of_it() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        _, body = await read_request(reader)
        writer.write(UPGRADED + body + b"|")
        writer.write(await reader.readexactly(3))

    async with proxy(script, EXEC) as running:
        reader, writer = await running.connect()
        head = b"POST /v1.41/exec/e/start HTTP/1.1\r\n" + UPGRADE + b"Content-Length: 2\r\n\r\n"
        for part in (head[:20], head[20:] + b"{", b"}ab"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        writer.write(b"c")
        await read_head(reader)
        assert await reader.read() == b"{}|abc"
        writer.close()


@both_loops
async def test_an_error_before_the_upgrade_is_an_ordinary_reply() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(
            b"HTTP/1.1 404 Not Found\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
            b"No such container: zz\r\n"
        )

    async with proxy(script, ATTACH) as running:
        reader, writer = await running.connect()
        writer.write(ASK + b"typed ahead")
        head = await read_head(reader)
        assert head.startswith("HTTP/1.1 404 Not Found")
        assert "raw-stream" in head
        assert "Content-Length: 23" in head
        assert await reader.read() == b"No such container: zz\r\n"
        writer.close()


@both_loops
async def test_a_chunked_error_is_read_to_its_end() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
        await reader.read()

    async with proxy(script, ATTACH) as running:
        head, body = await running.ask("POST /containers/web/attach\nContent-Length: 0")
        assert (head[:12], body) == ("HTTP/1.1 409", b"abcde")


@both_loops
async def test_an_engine_that_is_away_is_told_as_an_error() -> None:
    async with proxy(echo, ATTACH) as running:
        assert running.fake.server is not None
        running.fake.server.close()
        reader, writer = await running.connect()
        writer.write(ASK)
        assert (await read_head(reader)).startswith("HTTP/1.1 503")
        assert b"Is the docker daemon running? (node-1: connection refused)" in await reader.read()
        writer.close()


@both_loops
async def test_a_detached_exec_keeps_the_clients_connection() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n")

    async with proxy(script, EXEC, TOP) as running:
        reader, writer = await running.connect()
        for _ in range(3):
            writer.write(b'POST /exec/e/start HTTP/1.1\r\nHost: d\r\nContent-Length: 15\r\n\r\n{"Detach":true}')
            head = await read_head(reader)
            assert head.startswith("HTTP/1.1 200 OK")
            assert "Content-Length: 0" in head
        writer.write(b"GET /containers/web/top HTTP/1.1\r\nHost: d\r\n\r\n")
        assert (await read_head(reader)).startswith("HTTP/1.1 200 OK")
        writer.close()


@both_loops
async def test_without_upgrade_headers_a_stream_until_close() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nout:")
        writer.write(await reader.readexactly(2))

    async with proxy(script, ATTACH) as running:
        reader, writer = await running.connect()
        writer.write(b"POST /containers/web/attach HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
        head = await read_head(reader)
        assert head.startswith("HTTP/1.1 200 OK")
        assert "length" not in head.lower()
        assert "chunked" not in head.lower()
        writer.write(b"in")
        assert await reader.read() == b"out:in"
        writer.close()


@both_loops
async def test_a_websocket_is_bytes_like_the_rest() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        head = await read_head(reader)
        assert "Sec-WebSocket-Key: x" in head
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi")
        writer.write(await reader.readexactly(4))

    async with proxy(script, ATTACH_WS) as running:
        reader, writer = await running.connect()
        writer.write(
            b"GET /containers/web/attach/ws?stream=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n\x82\x00"
        )
        assert (await read_head(reader)).startswith("HTTP/1.1 101 Switching Protocols")
        writer.write(b"\x88\x00")
        assert await reader.read() == b"\x81\x02hi\x82\x00\x88\x00"
        writer.close()


@both_loops
async def test_a_client_that_breaks_off_ends_the_engines_side(place: Path) -> None:
    async with proxy(echo, ATTACH, tmp_path=place) as running:
        reader, writer = await running.connect()
        writer.write(ASK)
        await read_head(reader)
        if place is None:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await until(lambda: running.fake.closed == 1)


@both_loops
async def test_a_client_that_leaves_before_the_101_ends_the_engines_side() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        assert await reader.read() == b""

    async with proxy(script, ATTACH) as running:
        _, writer = await running.connect()
        writer.write(ASK)
        await until(lambda: running.fake.opened == 1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await until(lambda: running.fake.closed == 1)


@both_loops
async def test_an_engine_that_dies_ends_the_client(place: Path) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(UPGRADED + b"last words")
        await writer.drain()

    async with proxy(script, ATTACH, tmp_path=place) as running:
        reader, writer = await running.connect()
        writer.write(ASK)
        await read_head(reader)
        assert await reader.read() == b"last words"
        writer.close()


@both_loops
async def test_a_client_that_stays_after_its_engine_ended_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarmproxy.api.hijack.LINGER", 0.05)

    async def script(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(UPGRADED)
        writer.write_eof()
        await reader.read()

    async with proxy(script, ATTACH) as running:
        reader, writer = await running.connect()
        writer.write(ASK)
        await read_head(reader)
        assert await reader.read() == b""
        await until(lambda: running.listener.connections == 0)
        assert running.fake.closed == 1
        writer.close()


@both_loops
async def test_an_engine_judged_dead_ends_its_tunnels() -> None:
    async with proxy(echo, ATTACH) as running:
        reader, writer = await running.connect()
        writer.write(ASK)
        await read_head(reader)
        running.engine.end_streams()
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass  # what is lost is lost: the end may come as a reset
        writer.close()


@both_loops
async def test_a_client_that_does_not_read_slows_the_engine() -> None:
    whole = 64 << 20
    sent = 0

    async def script(reader: Reader, writer: Writer) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(UPGRADED)
        block = bytes(256 << 10)
        while sent < whole:
            writer.write(block)
            await writer.drain()
            sent += len(block)

    async with proxy(script, ATTACH) as running:
        reader, writer = await running.connect()
        writer.write(ASK)
        await read_head(reader)
        await settled(lambda: sent)
        assert sent < 24 << 20  # kernel buffers of three sockets and what we hold
        received = 0
        while data := await reader.read(1 << 20):
            received += len(data)
        assert received == whole
        writer.close()


@both_loops
async def test_an_engine_that_does_not_read_slows_the_client() -> None:
    whole = 32 << 20
    go = asyncio.Event()
    received = 0

    async def script(reader: Reader, writer: Writer) -> None:
        nonlocal received
        await read_request(reader)
        writer.write(UPGRADED)
        await go.wait()
        while data := await reader.read(1 << 20):
            received += len(data)
        writer.write(b"%d" % received)

    async with proxy(script, ATTACH) as running:
        reader, writer = await running.connect()
        writer.write(ASK)
        await read_head(reader)
        sent = 0

        async def send() -> None:
            nonlocal sent
            block = bytes(256 << 10)
            while sent < whole:
                writer.write(block)
                await writer.drain()
                sent += len(block)
            writer.write_eof()

        sending = asyncio.ensure_future(send())
        await settled(lambda: sent)
        assert sent < 24 << 20
        go.set()
        assert await reader.read() == b"%d" % whole
        await sending
        writer.close()


@both_loops
async def test_an_upgrade_that_nobody_wants_stays_a_request() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            await read_head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")

    async with proxy(script, TOP) as running:
        reader, writer = await running.connect()
        ask = b"GET /containers/web/top HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        writer.write(ask + ask)
        for _ in range(2):
            assert (await read_head(reader)).startswith("HTTP/1.1 200 OK")
            assert await reader.readexactly(2) == b"[]"
        writer.close()


@both_loops
async def test_stopping_the_proxy_cuts_tunnels() -> None:
    async with proxy(echo, ATTACH) as running:
        reader, writer = await running.connect()
        writer.write(ASK)
        await read_head(reader)
        await running.listener.close(0.05)
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        writer.close()
