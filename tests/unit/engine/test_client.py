from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from swarmproxy.engine.client import Engine, Observation
from swarmproxy.engine.deadline import QUICK, STREAM, WORK, Deadline
from swarmproxy.model.errors import EngineTimeout, EngineUnreachable
from tests.unit.api.plumbing import settled, until

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
OK = b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2\r\n\r\n{}"
SHORT = Deadline("short", total=0.05, telling=True)


class Peer:
    """A raw engine: `answer` runs once a request, until it returns False."""

    def __init__(self, answer: Callable[[str, bytes, Writer], Awaitable[bool]]) -> None:
        self.answer = answer
        self.heads: list[str] = []
        self.connections = 0

    async def serve(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                lengths = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                body = await reader.readexactly(int(lengths[0].partition(":")[2])) if lengths else b""
                if not await self.answer(head, body, writer):
                    break
        writer.close()


@contextlib.asynccontextmanager
async def engine(
    answer: Callable[[str, bytes, Writer], Awaitable[bool]], *, limit: int = 64
) -> AsyncIterator[tuple[Engine, Peer, list[tuple[Observation, str]]]]:
    peer = Peer(answer)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    client = Engine("node-1", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", limit=limit)
    seen: list[tuple[Observation, str]] = []
    client.observer = lambda what, why: seen.append((what, why))
    try:
        yield client, peer, seen
    finally:
        await client.close()
        server.close()


async def fine(head: str, body: bytes, writer: Writer) -> bool:
    writer.write(OK)
    return True


async def silent(head: str, body: bytes, writer: Writer) -> bool:
    return True


async def test_a_call_is_one_request_and_its_whole_reply() -> None:
    async with engine(fine) as (client, peer, seen):
        answer = await client.call("GET", "/info")
        assert (answer.status, answer.body, answer.headers["x-a"]) == (200, b"{}", "b")
        client.api = "1.41"
        await client.call("POST", "/x/create", query="a=b%2F", body=b"{}", headers={"Content-Type": "application/json"})
        await client.call("GET", "/x", version="1.30")
        await client.call("DELETE", "/x", version="1.44")
        assert [head.split("\r\n")[0] for head in peer.heads] == [
            "GET /info HTTP/1.1",
            "POST /v1.41/x/create?a=b%2F HTTP/1.1",
            "GET /v1.30/x HTTP/1.1",
            "DELETE /v1.41/x HTTP/1.1",
        ]
        assert "Content-Type: application/json" in peer.heads[1]
        assert "User-Agent" not in "".join(peer.heads)
        assert peer.connections == 1
        assert seen == [(Observation.ANSWER, "")] * 4


async def test_nobody_there_is_told_in_dockers_words_with_node_and_reason(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    seen: list[tuple[Observation, str]] = []
    for address, shown, why in (
        (f"127.0.0.1:{port}", f"tcp://127.0.0.1:{port}", "connection refused"),
        (f"unix://{tmp_path}/none.sock", f"unix://{tmp_path}/none.sock", "no such socket"),
    ):
        client = Engine("node-1", address)
        client.observer = lambda what, why: seen.append((what, why))
        words = f"Cannot connect to the Docker daemon at {shown}. Is the docker daemon running? (node-1: {why})"
        for attempt in (client.call("GET", "/info"), client.tunnel("POST", "/session")):
            with pytest.raises(EngineUnreachable) as caught:
                await attempt
            assert (caught.value.message, caught.value.status) == (words, 503)
        await client.close()
        assert seen == [(Observation.REFUSED, why)] * 2
        seen.clear()


async def test_silence_ends_with_the_deadline_and_only_a_quick_one_is_told() -> None:
    async with engine(silent) as (client, _, seen):
        with pytest.raises(EngineTimeout, match=r"\(node-1: no answer within 0.05 s\)") as caught:
            await client.call("GET", "/info", deadline=SHORT)
        assert caught.value.status == 504
        assert seen == [(Observation.TIMEOUT, "no answer within 0.05 s")]
        with pytest.raises(EngineTimeout):
            await client.call("POST", "/x", deadline=WORK.within(0.05))
        with pytest.raises(EngineTimeout):
            async with client.stream("GET", "/x", deadline=Deadline("stream", first=0.05, limited=False)):
                pass
        with pytest.raises(EngineTimeout):
            await client.tunnel("POST", "/x", deadline=Deadline("stream", first=0.05, limited=False))
        assert len(seen) == 1


async def test_a_body_that_stops_half_way_ends_with_the_deadline_too() -> None:
    async def half(head: str, body: bytes, writer: Writer) -> bool:
        writer.write(OK[:-1])
        return True

    async with engine(half) as (client, _, seen):
        with pytest.raises(EngineTimeout):
            await client.call("GET", "/info", deadline=SHORT)
        assert seen[-1][0] is Observation.TIMEOUT


async def test_while_tripped_only_probes_reach_the_engine() -> None:
    async with engine(fine) as (client, peer, _):
        client.trip("no answer within 5 s")
        for attempt in (client.call("GET", "/x"), client.tunnel("POST", "/x")):
            with pytest.raises(EngineUnreachable, match=r"\(node-1: no answer within 5 s\)"):
                await attempt
        with pytest.raises(EngineUnreachable):
            async with client.stream("GET", "/x"):
                pass
        assert peer.connections == 0
        assert (await client.call("GET", "/_ping", probe=True)).status == 200
        client.restore()
        assert (await client.call("GET", "/x")).status == 200


@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("HEAD", 2), ("POST", 1), ("DELETE", 1), ("PUT", 1)])
async def test_only_what_cannot_harm_is_asked_again_on_a_closed_connection(method: str, times: int) -> None:
    async def close(head: str, body: bytes, writer: Writer) -> bool:
        return False

    async with engine(close) as (client, peer, seen):
        with pytest.raises(EngineUnreachable, match="connection closed before an answer"):
            await client.call(method, "/x")
        assert len(peer.heads) == times
        assert seen == [(Observation.REFUSED, "connection closed before an answer")]


async def test_a_get_on_a_connection_that_the_engine_has_just_closed_succeeds() -> None:
    async def once(head: str, body: bytes, writer: Writer) -> bool:
        if len(peer.heads) == 2:
            return False
        writer.write(OK)
        return True

    async with engine(once) as (client, peer, seen):
        await client.call("GET", "/a")
        await client.call("GET", "/b")
        assert [head.split()[1] for head in peer.heads] == ["/a", "/b", "/b"]
        assert {what for what, _ in seen} == {Observation.ANSWER}


async def test_calls_wait_for_a_place_within_their_deadline_streams_and_probes_do_not() -> None:
    go = asyncio.Event()

    async def gated(head: str, body: bytes, writer: Writer) -> bool:
        if "/slow" in head:
            await go.wait()
        writer.write(OK)
        return True

    async with engine(gated, limit=2) as (client, peer, seen):
        slow = [asyncio.ensure_future(client.call("GET", "/slow")) for _ in range(2)]
        await until(lambda: len(peer.heads) == 2)
        with pytest.raises(EngineTimeout, match="busy with 2 other calls"):
            await client.call("GET", "/fast", deadline=SHORT)
        assert seen == []
        assert (await client.call("GET", "/fast", probe=True)).status == 200
        async with client.stream("GET", "/fast", deadline=STREAM) as stream:
            assert await stream.read() == b"{}"
        go.set()
        await asyncio.gather(*slow)
        assert (await client.call("GET", "/fast")).status == 200


async def test_a_cancelled_call_gives_its_place_back() -> None:
    async with engine(silent, limit=1) as (client, peer, _):
        task = asyncio.ensure_future(client.call("GET", "/slow"))
        await until(lambda: peer.heads)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(EngineTimeout, match="no answer"):
            await client.call("GET", "/slow", deadline=SHORT)


async def test_a_stream_hands_out_what_has_come() -> None:
    more = asyncio.Event()

    async def pieces(head: str, body: bytes, writer: Writer) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await more.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
        return True

    async with engine(pieces) as (client, peer, _):
        async with client.stream("GET", "/events", deadline=STREAM) as stream:
            chunks = stream.chunks()
            assert (stream.status, stream.length) == (200, None)
            assert await anext(chunks) == b"one"
            more.set()
            assert [part async for part in chunks] == [b"two"]
        async with client.stream("GET", "/x") as stream:
            await stream.read()
        assert peer.connections == 1


async def test_a_stream_that_breaks_tells_so_and_one_that_is_left_closes_its_connection() -> None:
    async def broken(head: str, body: bytes, writer: Writer) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await writer.drain()
        return "/endless" in head

    async with engine(broken) as (client, peer, seen):
        with pytest.raises(EngineUnreachable, match="connection broke within the answer"):
            async with client.stream("GET", "/x") as stream:
                await stream.read()
        assert seen[-1] == (Observation.REFUSED, "connection broke within the answer")
        async with client.stream("GET", "/endless") as stream:
            assert await stream.chunk() == b"one"
        with contextlib.suppress(EngineUnreachable):
            await client.call("GET", "/y")
        assert peer.connections == 3


async def test_streams_end_when_their_engine_is_judged_dead() -> None:
    async def endless(head: str, body: bytes, writer: Writer) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        return True

    async with engine(endless) as (client, _, _seen), client.stream("GET", "/events") as stream:
        client.trip("connection refused")
        reading = asyncio.ensure_future(stream.chunk())
        await asyncio.sleep(0)
        assert not reading.done()
        client.end_streams()
        with pytest.raises(EngineUnreachable):
            await reading


async def test_an_upload_whose_source_fails_is_not_the_engines_fault() -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"some"
        raise KeyError("source")

    async with engine(silent) as (client, _, seen):
        with pytest.raises(KeyError):
            async with client.stream("POST", "/images/load", body=source()):
                pass
        assert seen == []


async def test_a_problem_of_the_caller_inside_a_stream_is_the_callers() -> None:
    async with engine(fine) as (client, _, seen):
        for problem in (ConnectionResetError("client"), TimeoutError("mine"), KeyError("x")):
            with pytest.raises(type(problem)) as caught:
                async with client.stream("GET", "/x", deadline=QUICK):
                    raise problem
            assert caught.value is problem
        assert {what for what, _ in seen} == {Observation.ANSWER}


async def test_a_stream_may_lift_its_deadline() -> None:
    async with engine(fine, limit=1) as (client, _, _seen), client.stream("GET", "/x", deadline=SHORT) as stream:
        stream.unbind()
        assert (await client.call("GET", "/y")).status == 200
        await asyncio.sleep(0.08)
        assert await stream.read() == b"{}"


async def test_a_tunnel_is_a_head_and_then_bytes() -> None:
    async def upgrade(head: str, body: bytes, writer: Writer) -> bool:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\nearly")
        return True

    async with engine(upgrade) as (client, peer, seen):
        client.api = "1.41"
        tunnel = await client.tunnel(
            "POST", "/exec/x/start", body=b"{}", headers=[("Host", "docker"), ("Upgrade", "tcp")]
        )
        assert (tunnel.status, tunnel.reason, tunnel.header("upgrade"), tunnel.endless) == (
            101,
            "UPGRADED",
            "tcp",
            True,
        )
        _, early, ended = tunnel.take()
        assert (early, ended) == (b"early", False)
        tunnel.close()
        assert peer.heads[0].startswith("POST /v1.41/exec/x/start HTTP/1.1\r\nHost: docker\r\nUpgrade: tcp\r\n")
        assert seen == [(Observation.ANSWER, "")]


async def test_a_tunnel_that_nobody_takes_holds_little() -> None:
    sent = 0

    async def flood(head: str, body: bytes, writer: Writer) -> bool:
        nonlocal sent
        writer.write(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
        while sent < 64 << 20:
            writer.write(bytes(1 << 18))
            await writer.drain()
            sent += 1 << 18
        return True

    async with engine(flood) as (client, _, _seen):
        tunnel = await client.tunnel("POST", "/x", body=b"")
        await settled(lambda: sent)
        assert len(tunnel.take()[1]) <= 512 << 10
        tunnel.close()


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 101", b"SSH-2.0 hello\r\n\r\n"])
async def test_what_is_no_head_ends_the_tunnel(reply: bytes) -> None:
    async def odd(head: str, body: bytes, writer: Writer) -> bool:
        writer.write(reply)
        return False

    async with engine(odd) as (client, _, seen):
        with pytest.raises(EngineUnreachable):
            await client.tunnel("POST", "/x", body=b"")
        assert seen[0][0] is Observation.REFUSED


async def test_a_closed_client_refuses() -> None:
    async with engine(fine) as (client, _, _seen):
        await client.call("GET", "/x")
        await client.close()
        with pytest.raises(EngineUnreachable, match="the engine has left"):
            await client.call("GET", "/x")
