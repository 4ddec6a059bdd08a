"""Hijacked connections: bytes as they pass on the wire, half-close, framing."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
import uvloop

from swarmproxy.testing import SimEngine
from swarmproxy.testing.hijack import frame

UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"


class Wire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def ask(cls, engine: SimEngine, path: str, *, headers: str = UPGRADE, body: bytes = b"", tail: bytes = b""):
        wire = cls(*await asyncio.open_connection("127.0.0.1", engine.port))
        kind = "Content-Type: application/json\r\n" if body else ""
        head = f"POST {path} HTTP/1.1\r\nHost: docker\r\n{headers}{kind}Content-Length: {len(body)}\r\n\r\n"
        wire.writer.write(head.encode() + body + tail)
        answer = (await wire.reader.readuntil(b"\r\n\r\n")).decode()
        wire.status, *lines = answer.strip().split("\r\n")
        wire.headers = dict(line.split(": ", 1) for line in lines)
        return wire

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 5)

    def close(self) -> None:
        self.writer.close()


async def test_attach_echoes_in_frames_and_input_may_end_first(talk, engine: SimEngine, flavour: str) -> None:
    await talk.create("web", Cmd=["cat"], OpenStdin=True, StdinOnce=True)
    wire = await Wire.ask(engine, "/containers/web/attach?stream=1&stdin=1&stdout=1&stderr=1")
    assert wire.status == "HTTP/1.1 101 UPGRADED"
    assert (wire.headers["Connection"], wire.headers["Upgrade"]) == ("Upgrade", "tcp")
    kind = "raw-stream" if flavour == "20.10" else "multiplexed-stream"
    assert wire.headers["Content-Type"] == f"application/vnd.docker.{kind}"
    assert "Api-Version" not in wire.headers
    wire.writer.write(b"before the start\n")
    await wire.writer.drain()
    await talk("POST", "/containers/web/start")
    wire.writer.write(b"after it\n")
    wire.writer.write_eof()
    got = await wire.rest()
    assert got == frame(1, b"before the start\n") + frame(1, b"after it\n")
    assert engine.container("web").status == "exited"
    wire.close()


async def test_a_terminal_is_not_framed(talk, engine: SimEngine) -> None:
    await talk.run("web", Tty=True, OpenStdin=True)
    wire = await Wire.ask(engine, "/containers/web/attach?stream=1&stdin=1&stdout=1")
    wire.writer.write(b"hello")
    assert await wire.reader.readexactly(5) == b"hello"
    engine.exit("web", 0)
    assert await wire.rest() == b""
    wire.close()


async def test_bytes_before_the_101_are_lost(talk, engine: SimEngine) -> None:
    await talk.run("web", OpenStdin=True)
    wire = await Wire.ask(engine, "/containers/web/attach?stream=1&stdin=1&stdout=1", tail=b"early\n")
    wire.writer.write(b"late\n")
    assert await wire.reader.readexactly(13) == frame(1, b"late\n")
    wire.close()


async def test_without_upgrade_headers_it_is_a_200_until_the_end(talk, engine: SimEngine) -> None:
    await talk.run("web")
    wire = await Wire.ask(engine, "/containers/web/attach?stream=1&stdout=1", headers="")
    assert wire.status == "HTTP/1.1 200 OK"
    assert "Transfer-Encoding" not in wire.headers and "Content-Length" not in wire.headers
    engine.log("web", "said\n")
    engine.log("web", "not asked for\n", stream=2)
    engine.exit("web")
    assert await wire.rest() == frame(1, b"said\n")
    wire.close()


async def test_attach_errors_are_raw(talk, engine: SimEngine) -> None:
    wire = await Wire.ask(engine, "/containers/zz/attach?stream=1")
    assert wire.status == "HTTP/1.1 404 Not Found"
    assert wire.headers == {"Content-Type": "application/vnd.docker.raw-stream"}
    assert await wire.rest() == b"No such container: zz\r\n"
    wire.close()


async def make_exec(talk, command: list[str], **fields: object) -> str:
    body = {"Cmd": command, "AttachStdout": True, **fields}
    return str((await talk("POST", "/containers/web/exec", body))[1]["Id"])


@pytest.mark.parametrize(("tty", "expected"), [(False, frame(1, b"hi you\n")), (True, b"hi you\n")])
async def test_exec_prints_and_keeps_its_code(talk, engine: SimEngine, tty: bool, expected: bytes) -> None:
    await talk.run("web")
    key = await make_exec(talk, ["echo", "hi", "you"], Tty=tty)
    assert (await talk("GET", "/containers/web/json"))[1]["ExecIDs"] == [key]
    wire = await Wire.ask(engine, f"/exec/{key}/start", body=b'{"Tty":false}')
    assert wire.headers["Api-Version"]
    assert await wire.rest() == expected
    _, state = await talk("GET", f"/exec/{key}/json")
    assert (state["Running"], state["ExitCode"]) == (False, 0)
    assert (await talk("GET", "/containers/web/json"))[1]["ExecIDs"] is None
    assert talk.actions()[-3:] == [
        "container exec_create: echo hi you web",
        "container exec_start: echo hi you web",
        "container exec_die web",
    ]
    wire.close()


async def test_exec_of_a_bad_command_says_so_after_the_101(talk, engine: SimEngine) -> None:
    await talk.run("web")
    key = await make_exec(talk, ["nosuch"])
    wire = await Wire.ask(engine, f"/exec/{key}/start", body=b"{}")
    assert wire.status == "HTTP/1.1 101 UPGRADED"
    assert b"executable file not found in $PATH" in await wire.rest()
    assert (await talk("GET", f"/exec/{key}/json"))[1]["ExitCode"] == 126
    wire.close()


async def test_exec_reads_until_the_client_ends_its_side(talk, engine: SimEngine) -> None:
    await talk.run("web")
    key = await make_exec(talk, ["cat"], AttachStdin=True)
    wire = await Wire.ask(engine, f"/exec/{key}/start", body=b"{}")
    wire.writer.write(b"x" * 100_000)
    wire.writer.write_eof()
    got = await wire.rest()
    assert got.count(b"x") == 100_000
    assert (await talk("GET", f"/exec/{key}/json"))[1]["Running"] is False
    wire.close()


def test_tunnels_under_uvloop(flavour: str) -> None:
    async def scene() -> bytes:
        async with SimEngine(flavour=flavour) as engine, aiohttp.ClientSession() as session:
            engine.seed(1, prefix="web")
            made = await session.post(f"{engine.url}/containers/web-0/exec", json={"Cmd": ["cat"], "AttachStdin": True})
            wire = await Wire.ask(engine, f"/exec/{(await made.json())['Id']}/start", body=b"{}")
            wire.writer.write(b"through")
            wire.writer.write_eof()
            got = await wire.rest()
            wire.close()
            return got

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(scene()) == frame(1, b"through")


async def test_a_detached_exec_answers_at_once_and_starts_once(talk, engine: SimEngine) -> None:
    await talk.run("web")
    key = await make_exec(talk, ["sleep", "5"])
    assert await talk("POST", f"/exec/{key}/start", {"Detach": True}) == (200, "")
    assert (await talk("GET", f"/exec/{key}/json"))[1]["Running"] is True
    status, answer = await talk("POST", f"/exec/{key}/start", {"Detach": True})
    assert (status, answer["message"]) == (409, f"Error: Exec command {key} is already running")
    engine.exit("web", 0)
    assert (await talk("GET", f"/exec/{key}/json"))[1]["ExitCode"] == 137


async def test_logs_follow_and_end_with_the_container(talk, engine: SimEngine, flavour: str) -> None:
    await talk.run("web")
    for number in range(5):
        engine.log("web", f"line {number}\n")
    async with talk.session.get(f"{engine.url}/containers/web/logs?stdout=1&follow=1&tail=2") as reply:
        kind = "application/vnd.docker.multiplexed-stream"
        assert reply.headers.get("Content-Type") == (None if flavour == "20.10" else kind)
        first = await reply.content.readexactly(30)
        assert first == frame(1, b"line 3\n") + frame(1, b"line 4\n")
        engine.log("web", "later\n")
        engine.exit("web")
        assert await reply.read() == frame(1, b"later\n")
    async with talk.session.get(f"{engine.url}/containers/web/logs?stdout=1&timestamps=1&tail=1") as reply:
        text = (await reply.read())[8:].decode()
    assert text.endswith("Z later\n") and text.startswith("20")
