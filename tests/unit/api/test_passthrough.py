from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from swarmproxy.api.call import Call
from swarmproxy.api.route import REFRESH, Route
from swarmproxy.engine.deadline import BULK, STREAM, WORK
from tests.unit.api.plumbing import (
    ID,
    Reader,
    Running,
    Writer,
    both_loops,
    proxy,
    read_head,
    read_request,
    settled,
    until,
)

INSPECT: Route[Any] = Route("GET", "/containers/{container}/json")
LOGS: Route[Any] = Route("GET", "/containers/{container}/logs", deadline=STREAM)
WAIT: Route[Any] = Route("POST", "/containers/{container}/wait", deadline=STREAM, then=REFRESH)
STOP: Route[Any] = Route("POST", "/containers/{container}/stop", deadline=WORK, then=REFRESH)
UPDATE: Route[Any] = Route("POST", "/containers/{container}/update", then=REFRESH)
HEAD_ARCHIVE: Route[Any] = Route("HEAD", "/containers/{container}/archive", deadline=WORK)
ARCHIVE: Route[Any] = Route("PUT", "/containers/{container}/archive", deadline=BULK)
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def replying(reply: bytes, seen: list[str] | None = None) -> Any:
    """An engine that gives one reply to every request of a connection."""

    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            head, body = await read_request(reader)
            if seen is not None:
                seen.extend((head, body.decode()))
            writer.write(reply)

    return script


async def dechunked(reader: Reader) -> bytes:
    size = int(await reader.readline(), 16)
    data = await reader.readexactly(size)
    await reader.readexactly(2)
    return data


@both_loops
async def test_the_request_arrives_as_sent_but_for_the_name_and_the_hop(tmp_path: Path) -> None:
    seen: list[str] = []
    async with proxy(
        replying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", seen), LOGS, tmp_path=tmp_path
    ) as running:
        await running.ask(
            "GET /v1.30/containers/node-1/web/logs?a=%2F&b&c=+x\nX-Registry-Auth: e30=\nTE: trailers\nKeep-Alive: 1"
        )
    lines = seen[0].split("\r\n")
    assert lines[0] == f"GET /v1.30/containers/{ID}/logs?a=%2F&b&c=+x HTTP/1.1"
    assert "X-Registry-Auth: e30=" in lines
    names = {line.partition(":")[0].lower() for line in lines[1:]}
    assert names.isdisjoint({"te", "keep-alive", "connection", "user-agent", "accept-encoding", "content-type"})


@both_loops
async def test_a_newer_client_is_translated_to_what_the_engine_speaks() -> None:
    seen: list[str] = []
    async with proxy(replying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", seen), LOGS) as running:
        await running.ask("GET /v1.44/containers/web/logs")
        await running.ask("GET /containers/web/logs")
    assert [head.split("/")[1] for head in seen[::2]] == ["v1.41", "v1.41"]


@both_loops
async def test_a_small_reply_keeps_its_bytes_and_gets_our_identity() -> None:
    reply = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nApi-Version: 1.99\r\nServer: Docker/20 (linux)\r\n"
        b"X-Docker-Container-Path-Stat: e30=\r\nContent-Length: 5\r\n\r\n[1,2]"
    )
    async with proxy(replying(reply), INSPECT) as running:
        head, body = await running.ask("GET /containers/web/json")
    assert body == b"[1,2]"
    assert "Api-Version: 1.41\r\n" in head
    assert "Server: Docker/swarmproxy" in head
    assert head.count("Server:") == 1
    assert "X-Docker-Container-Path-Stat: e30=" in head


@both_loops
async def test_a_small_chunked_reply_comes_with_its_length() -> None:
    async with proxy(replying(CHUNKED + chunk(b"ab") + chunk(b"c") + b"0\r\n\r\n"), INSPECT) as running:
        head, body = await running.ask("GET /containers/web/json")
    assert body == b"abc"
    assert "Content-Length: 3" in head
    assert "chunked" not in head


@both_loops
async def test_a_large_reply_streams_after_the_deadline_is_lifted() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(CHUNKED)
        for _ in range(40):
            writer.write(chunk(bytes(50_000)))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await reader.read()

    async with proxy(script, INSPECT) as running:
        head, body = await running.ask("GET /containers/web/json")
    assert "chunked" in head
    assert body.count(b"\0") == 2_000_000
    assert body.endswith(b"0\r\n\r\n")


@both_loops
async def test_a_large_reply_may_take_longer_than_its_deadline() -> None:
    route: Route[Any] = Route("GET", "/containers/{container}/json", deadline=WORK.within(0.1))

    async def script(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(CHUNKED + chunk(bytes(300_000)))
        await asyncio.sleep(0.2)
        writer.write(chunk(b"end") + b"0\r\n\r\n")
        await reader.read()

    async with proxy(script, route) as running:
        assert (await running.ask("GET /containers/web/json"))[1].endswith(b"3\r\nend\r\n0\r\n\r\n")


@both_loops
async def test_a_type_that_the_engine_did_not_tell_is_not_made_up() -> None:
    for kind in (b"Content-Length: 1\r\n\r\nx", b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"):
        async with proxy(replying(b"HTTP/1.1 200 OK\r\n" + kind), LOGS, INSPECT) as running:
            for verb in ("logs", "json"):
                assert "content-type" not in (await running.ask(f"GET /containers/web/{verb}"))[0].lower()


@both_loops
async def test_replies_without_a_body_leave_the_connection_usable() -> None:
    answers = iter((b"204 No Content", b"304 Not Modified", b"204 No Content"))

    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            await read_request(reader)
            writer.write(b"HTTP/1.1 " + next(answers) + b"\r\n\r\n")

    async with proxy(script, STOP) as running:
        reader, writer = await running.connect()
        for status in ("204", "304", "204"):
            writer.write(b"POST /containers/web/stop HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
            head = (await read_head(reader)).lower()
            assert head.startswith(f"http/1.1 {status}")
            assert "content-length" not in head
            assert "transfer-encoding" not in head
            assert "content-type" not in head
        writer.close()
        assert running.fake.opened == 1


@both_loops
async def test_head_has_headers_and_nothing_else() -> None:
    reply = b"HTTP/1.1 200 OK\r\nX-Docker-Container-Path-Stat: e30=\r\nContent-Length: 700000\r\n\r\n"

    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            await read_request(reader)
            writer.write(reply)

    async with proxy(script, HEAD_ARCHIVE) as running:
        reader, writer = await running.connect()
        for _ in range(2):
            writer.write(b"HEAD /containers/web/archive?path=/ HTTP/1.1\r\nHost: d\r\n\r\n")
            head = await read_head(reader)
            assert "X-Docker-Container-Path-Stat: e30=" in head
            assert "Content-Length: 700000" in head
            assert "Content-Type" not in head
        writer.close()


@both_loops
async def test_the_head_of_wait_comes_before_its_body_and_the_body_after_the_refresh() -> None:
    died, refreshed = asyncio.Event(), asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(CHUNKED)
        await died.wait()
        writer.write(chunk(b'{"StatusCode":7}\n') + b"0\r\n\r\n")
        await reader.read()

    calls: list[tuple[str, int]] = []

    async def after(call: Call[Any], route: Route[Any]) -> None:
        calls.append((call.owner[1] if call.owner else "", call.status))
        await refreshed.wait()

    async with proxy(script, WAIT, after=after) as running:
        reader, writer = await running.connect()
        writer.write(b"POST /containers/web/wait HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
        assert "chunked" in await read_head(reader)
        died.set()
        await until(lambda: calls)
        reading = asyncio.ensure_future(dechunked(reader))
        await asyncio.sleep(0.02)
        assert not reading.done()
        refreshed.set()
        assert await reading == b'{"StatusCode":7}\n'
        assert await reader.readexactly(5) == b"0\r\n\r\n"
        writer.close()
    assert calls == [(ID, 200)]


@both_loops
async def test_a_refresh_comes_before_replies_of_every_shape_and_may_fail() -> None:
    calls: list[int] = []

    async def after(call: Call[Any], route: Route[Any]) -> None:
        calls.append(call.status)
        raise RuntimeError("the engine went away")

    for reply, status in ((b"204 No Content\r\n\r\n", "204"), (b"500 Oops\r\nContent-Length: 2\r\n\r\n{}", "500")):
        async with proxy(replying(b"HTTP/1.1 " + reply), STOP, UPDATE, after=after) as running:
            for verb in ("stop", "update"):
                head, _ = await running.ask(f"POST /containers/web/{verb}\nContent-Length: 0")
                assert head.startswith(f"HTTP/1.1 {status}")
    assert calls == [204, 204, 500, 500]


@both_loops
async def test_a_rewrite_sees_the_whole_body_of_a_200_only() -> None:
    def shout(call: Call[Any], body: bytes) -> bytes:
        return body.upper() + b"!"

    route: Route[Any] = Route("GET", "/containers/{container}/json", rewrite=shout)
    for status, expected in ((b"200 OK", b"ABCDE!"), (b"404 Not Found", b"abcde")):
        reply = CHUNKED.replace(b"200 OK", status) + chunk(b"abc") + chunk(b"de") + b"0\r\n\r\n"
        async with proxy(replying(reply), route) as running:
            head, body = await running.ask("GET /containers/web/json")
            assert body == expected
            assert f"Content-Length: {len(expected)}" in head


@both_loops
async def test_an_upload_streams_in_chunks_as_it_comes() -> None:
    seen: list[str] = []
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(reader: Reader, writer: Writer) -> None:
        seen.append(await read_head(reader))
        while data := await dechunked(reader):
            got.put_nowait(data)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with proxy(script, ARCHIVE) as running:
        reader, writer = await running.connect()
        writer.write(
            b"PUT /containers/web/archive?path=/ HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for part in (b"first", b"second"):
            writer.write(chunk(part))
            assert await got.get() == part
        writer.write(b"0\r\n\r\n")
        assert (await read_head(reader)).startswith("HTTP/1.1 200")
        writer.close()
    assert "Transfer-Encoding: chunked" in seen[0]
    assert "Content-Type: application/x-tar" in seen[0]


@both_loops
async def test_an_upload_of_known_length_keeps_it_and_expectations_are_met_here() -> None:
    seen: list[str] = []
    size = 300_000

    async def script(reader: Reader, writer: Writer) -> None:
        head, body = await read_request(reader)
        seen.append(head)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n%d" % len(body))
        await reader.read()

    async with proxy(script, ARCHIVE) as running:
        reader, writer = await running.connect()
        writer.write(
            b"PUT /containers/web/archive HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
            % size
        )
        assert await read_head(reader) == "HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(bytes(size))
        assert (await read_head(reader)).startswith("HTTP/1.1 200")
        assert await reader.readexactly(6) == b"300000"
        writer.close()
    assert f"Content-Length: {size}" in seen[0]
    assert "chunked" not in seen[0]
    assert "Expect" not in seen[0]


@both_loops
async def test_an_engine_that_refuses_an_upload_early_is_heard() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        await asyncio.sleep(0.05)

    async with proxy(script, ARCHIVE) as running:
        reader, writer = await running.connect()
        writer.write(b"PUT /containers/web/archive HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(chunk(bytes(100_000)) * 50)
        assert (await read_head(reader)).startswith("HTTP/1.1 404")
        assert await reader.readexactly(2) == b"{}"
        writer.close()


@both_loops
async def test_a_broken_upload_is_the_clients_fault() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await reader.read()

    async with proxy(script, ARCHIVE) as running:
        seen: list[str] = []
        running.engine.observer = lambda what, why: seen.append(what)
        for wait in (False, True):
            reader, writer = await running.connect()
            writer.write(b"PUT /containers/web/archive HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n")
            if wait:
                writer.write(chunk(b"good"))
                await until(lambda: running.fake.opened == 1)
            writer.write(b"zz\r\n")
            assert (await read_head(reader)).partition(" ")[2].startswith("400")
            assert (await reader.read()).startswith(b'{"message":')
            writer.close()
        await until(lambda: running.fake.closed == 1)
    assert seen == []


@both_loops
async def test_an_old_client_gets_a_stream_until_close() -> None:
    reply = CHUNKED + chunk(b"one") + chunk(b"two") + b"0\r\n\r\n"
    async with proxy(replying(reply), LOGS) as running:
        reader, writer = await running.connect()
        writer.write(b"GET /containers/web/logs HTTP/1.0\r\n\r\n")
        head = await read_head(reader)
        assert head.startswith("HTTP/1.0 200")
        assert "chunked" not in head
        assert await reader.read() == b"onetwo"
        writer.close()


async def follow(running: Running) -> tuple[Reader, Writer]:
    reader, writer = await running.connect()
    writer.write(b"GET /containers/web/logs?follow=1 HTTP/1.1\r\nHost: d\r\n\r\n")
    await read_head(reader)
    return reader, writer


async def endless(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    writer.write(CHUNKED)
    await reader.read()


@both_loops
async def test_a_client_that_goes_ends_the_engines_side(tmp_path: Path) -> None:
    for place in (None, tmp_path):
        async with proxy(endless, LOGS, tmp_path=place) as running:
            _, writer = await follow(running)
            assert running.fake.closed == 0
            writer.close()
            await until(lambda: running.fake.closed == 1)


@both_loops
async def test_a_client_that_goes_in_the_middle_of_an_upload_ends_the_engines_side() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await reader.read(10)
        await reader.read()

    async with proxy(script, ARCHIVE) as running:
        seen: list[str] = []
        running.engine.observer = lambda what, why: seen.append(what)
        _, writer = await running.connect()
        writer.write(
            b"PUT /containers/web/archive HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n"
        )
        await until(lambda: running.fake.opened == 1)
        writer.close()
        await until(lambda: running.fake.closed == 1)
    assert seen == []


@both_loops
async def test_an_engine_that_breaks_off_breaks_the_reply() -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(CHUNKED + chunk(b"half"))
        await writer.drain()

    async with proxy(script, LOGS) as running:
        reader, writer = await follow(running)
        assert await reader.read() == b"4\r\nhalf\r\n"  # no closing chunk: the client knows
        writer.close()


@both_loops
async def test_an_engine_judged_dead_ends_its_streams() -> None:
    async with proxy(endless, LOGS) as running:
        reader, writer = await follow(running)
        running.engine.end_streams()
        assert await reader.read() == b""
        writer.close()


@both_loops
async def test_a_client_that_does_not_read_slows_the_engine() -> None:
    whole, sent = 64 << 20, 0

    async def script(reader: Reader, writer: Writer) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(CHUNKED)
        block = chunk(bytes(256 << 10))
        while sent < whole:
            writer.write(block)
            await writer.drain()
            sent += 256 << 10
        writer.write(b"0\r\n\r\n")

    async with proxy(script, LOGS) as running:
        reader, writer = await follow(running)
        assert await settled(lambda: sent) < 24 << 20
        received = 0
        while data := await reader.read(1 << 20):
            received += data.count(0)
            if data.endswith(b"\r\n0\r\n\r\n"):
                break
        assert received == whole
        writer.close()


@both_loops
async def test_a_silent_engine_is_told_in_time() -> None:
    route: Route[Any] = Route("GET", "/containers/{container}/json", deadline=WORK.within(0.05))

    async def script(reader: Reader, writer: Writer) -> None:
        await reader.read()

    async with proxy(script, route) as running:
        head, body = await running.ask("GET /containers/web/json")
    assert head.startswith("HTTP/1.1 504")
    assert b"(node-1: no answer within 0.05 s)" in body
