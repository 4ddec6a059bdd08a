from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest
from aiohttp import web

from swarmproxy.api import replies
from swarmproxy.api.call import Call
from swarmproxy.api.route import SAGA, VIEW, Route, Table
from swarmproxy.discovery.store import Unavailable
from swarmproxy.model.errors import Conflict, NotFound
from tests.unit.api.plumbing import Reader, Writer, both_loops, proxy, read_head, until

NAMES = (
    ("GET", "/containers/json"),
    ("POST", "/containers/create"),
    ("GET", "/containers/{container}/json"),
    ("GET", "/containers/{container}/attach/ws"),
    ("DELETE", "/containers/{container}"),
    ("DELETE", "/containers/{container}/checkpoints/{checkpoint}"),
    ("GET", "/images/json"),
    ("GET", "/images/search"),
    ("GET", "/images/{image...}/json"),
    ("GET", "/images/{image...}/get"),
    ("DELETE", "/images/{image...}"),
    ("GET", "/networks"),
    ("GET", "/networks/"),
    ("GET", "/networks/{network}"),
    ("GET", "/exec/{exec}/json"),
)
TABLE: Table[None] = Table(Route(method, path) for method, path in NAMES)


@pytest.mark.parametrize(
    ("method", "path", "row", "params"),
    [
        ("GET", "/containers/json", "/containers/json", {}),
        ("GET", "/containers/web/json", "/containers/{container}/json", {"container": "web"}),
        ("GET", "/containers/json/json", "/containers/{container}/json", {"container": "json"}),
        ("GET", "/containers/node-1/web/json", "/containers/{container}/json", {"container": "node-1/web"}),
        ("GET", "/containers/node-1/web/attach/ws", "/containers/{container}/attach/ws", {"container": "node-1/web"}),
        ("DELETE", "/containers/node-1/web", "/containers/{container}", {"container": "node-1/web"}),
        (
            "DELETE",
            "/containers/web/checkpoints/one",
            "/containers/{container}/checkpoints/{checkpoint}",
            {"container": "web", "checkpoint": "one"},
        ),
        ("GET", "/images/a.b:5000/c/d:1/json", "/images/{image...}/json", {"image": "a.b:5000/c/d:1"}),
        ("GET", "/images/search/json", "/images/{image...}/json", {"image": "search"}),
        ("DELETE", "/images/json", "/images/{image...}", {"image": "json"}),
        ("DELETE", "/images/a/b/c/d", "/images/{image...}", {"image": "a/b/c/d"}),
        ("GET", "/networks/", "/networks/", {}),
        ("GET", "/networks/n1", "/networks/{network}", {"network": "n1"}),
        ("GET", "/containers/a/b/c/json", None, {}),
        ("GET", "/containers/web/json/", None, {}),
        ("GET", "/containers//json", None, {}),
        ("DELETE", "/containers/", None, {}),
        ("GET", "/containers", None, {}),
        ("POST", "/containers/json", None, {}),
        ("PATCH", "/containers/web/json", None, {}),
        ("GET", "/nothing", None, {}),
        ("GET", "/", None, {}),
    ],
)
def test_a_path_finds_its_row(method: str, path: str, row: str | None, params: dict[str, str]) -> None:
    found = TABLE.find(method, path, path.split("/")[1:])
    assert (found and found.route.path) == row
    assert dict(found.params if found else {}) == params


def test_two_rows_for_one_path_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two rows for GET /info"):
        Table((Route("GET", "/info"), Route("GET", "/info")))


async def show(call: Call[Any]) -> web.StreamResponse:
    return replies.json(call, {"params": call.params, "version": call.version, "path": call.path})


async def nothing(reader: Reader, writer: Writer) -> None:
    await reader.read()


SHOW = (
    Route("GET", "/containers/json", show, serve=VIEW),
    Route("GET", "/containers/{container}/json", show),
    Route("GET", "/images/{image...}/json", show),
    Route("GET", "/new", show, since="1.42"),
)
UNKNOWN = b'{"message":"page not found"}\n'


@both_loops
async def test_what_is_unknown_is_404_with_dockers_words() -> None:
    async with proxy(nothing, *SHOW) as running:
        for line in (
            "GET /",
            "GET /containers/json/",
            "POST /containers/json",
            "PATCH /v1.41/containers/json",
            "GET /V1.41/containers/json",
            "GET /v1.41",
            "GET /v1.41/",
            "GET /v1.99/nothing",
            "GET /v1.41/new",
            "HEAD /containers/json",
        ):
            head, body = await running.ask(line)
            assert head.startswith("HTTP/1.1 404 Not Found"), line
            assert "Content-Type: application/json" in head
            assert "Api-Version" not in head
            assert body == (b"" if line.startswith("HEAD") else UNKNOWN)


@both_loops
async def test_versions_are_judged_in_dockers_words() -> None:
    async with proxy(nothing, *SHOW) as running:
        for version in ("1.24", "1.41", "1.41.0", "01.41", "1.45"):
            head, body = await running.ask(f"GET /v{version}/containers/json")
            assert head.startswith("HTTP/1.1 200")
            assert msgspec.json.decode(body)["version"] == version
        head, body = await running.ask("GET /v1.99/containers/json")
        assert head.startswith("HTTP/1.1 400")
        assert "Api-Version: 1.41" in head
        assert body == b'{"message":"client version 1.99 is too new. Maximum supported API version is 1.41"}\n'
        head, body = await running.ask("GET /v1.11/containers/json")
        assert b"client version 1.11 is too old. Minimum supported API version is 1.24, please upgrade your" in body
        assert (await running.ask("GET /v1.42/new"))[0].startswith("HTTP/1.1 200")
        assert (await running.ask("GET /new"))[0].startswith("HTTP/1.1 200")


@both_loops
async def test_every_handled_reply_tells_who_answers() -> None:
    async with proxy(nothing, *SHOW) as running:
        head, body = await running.ask("GET /containers/json")
        assert {"Api-Version: 1.41", "Docker-Experimental: false", "Ostype: linux"} <= set(head.split("\r\n"))
        assert body.endswith(b"}\n")
        assert msgspec.json.decode(body)["version"] == "1.41"
        running.dispatcher.versions.follow(["1.45", "", "1.43"])
        assert "Api-Version: 1.43" in (await running.ask("GET /containers/json"))[0]
        assert (await running.ask("OPTIONS /anything"))[0].startswith("HTTP/1.1 200")


@both_loops
async def test_names_are_decoded_and_the_path_stays_raw() -> None:
    async with proxy(nothing, *SHOW) as running:
        _, body = await running.ask("GET /v1.41/containers/node%2D1%2Fweb/js%6Fn")
        assert msgspec.json.decode(body) == {
            "params": {"container": "node-1/web"},
            "version": "1.41",
            "path": "/containers/node%2D1%2Fweb/js%6Fn",
        }
        _, body = await running.ask("GET /images/a%2Fb%3A1/json?x")
        assert msgspec.json.decode(body)["params"] == {"image": "a/b:1"}


@both_loops
async def test_unclean_paths_are_redirected() -> None:
    async with proxy(nothing, *SHOW) as running:
        for path, clean in (
            ("//containers/json?a=b", "/containers/json?a=b"),
            ("/containers//web/json", "/containers/web/json"),
            ("/containers/%2Fweb/json", "/containers/web/json"),
            ("/images/../containers/json", "/containers/json"),
            ("/containers/./json/", "/containers/json/"),
        ):
            head, body = await running.ask(f"GET {path}")
            assert head.startswith("HTTP/1.1 301")
            assert f"Location: {clean}\r\n" in head
            assert body == b""
        assert (await running.ask("GET /containers/.hidden/json"))[0].startswith("HTTP/1.1 200")


@both_loops
async def test_failures_become_replies(caplog: pytest.LogCaptureFixture) -> None:
    problems: list[Exception] = [
        Conflict('The container name "/web" is already in use', node="node-1"),
        NotFound("No such container: x"),
        Unavailable("no leader"),
        ZeroDivisionError("secret"),
    ]

    async def fail(call: Call[Any]) -> web.StreamResponse:
        raise problems.pop(0)

    expected = (
        ("409", b'{"message":"The container name \\"/web\\" is already in use (node-1)"}\n'),
        ("404", b'{"message":"No such container: x"}\n'),
        ("503", b'{"message":"the cluster\'s store does not answer (no leader)"}\n'),
        ("500", b'{"message":"internal error of the proxy (ZeroDivisionError)"}\n'),
    )
    async with proxy(nothing, Route("GET", "/fail", fail)) as running:
        with caplog.at_level(logging.CRITICAL):
            for status, words in expected:
                head, body = await running.ask("GET /fail")
                assert (head[9:12], body) == (status, words)
                assert "Api-Version: 1.41" in head


@both_loops
async def test_json_bodies_are_checked_in_dockers_words() -> None:
    async def take(call: Call[Any]) -> web.StreamResponse:
        return replies.json(call, await call.json_body(64), status=201)

    typed = "Content-Type: application/json"
    async with proxy(nothing, Route("POST", "/take", take)) as running:
        for headers, body, status, words in (
            (typed, b'{"A":1}', "201", b'{"A":1}\n'),
            (typed + "; charset=utf-8", b'{"A":1}\n', "201", b'{"A":1}\n'),
            (typed, b"", "400", b"invalid JSON: got EOF while reading request body"),
            ("X: y", b"", "400", b"invalid JSON: got EOF while reading request body"),
            (typed, b"{b}", "400", b"invalid JSON: invalid character 'b' looking for beginning of object key string"),
            (typed, b"{} x", "400", b"unexpected content after JSON"),
            ("Content-Type: text/plain", b"{}", "400", b"unsupported Content-Type header (text/plain): must be"),
            ("X: y", b"{}", "400", b"malformed Content-Type header (): mime: no media type"),
            (typed, b'"%s"' % bytes(70), "413", b"request body is larger than 64 bytes"),
        ):
            head, reply = await running.ask(f"POST /take\n{headers}\nContent-Length: {len(body)}", body)
            assert head[9:12] == status
            assert words in reply


@both_loops
async def test_a_client_that_waits_to_be_told_to_go_on_is_told() -> None:
    async def take(call: Call[Any]) -> web.StreamResponse:
        return replies.json(call, await call.json_body())

    async with proxy(nothing, Route("POST", "/take", take)) as running:
        reader, writer = await running.connect()
        writer.write(
            b"POST /take HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        )
        assert await read_head(reader) == "HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await read_head(reader)).startswith("HTTP/1.1 200")
        writer.close()


@both_loops
async def test_a_saga_outlives_its_client() -> None:
    started, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def change(call: Call[Any]) -> web.StreamResponse:
        started.set()
        await go.wait()
        done.set()
        return replies.empty(call)

    async with proxy(nothing, Route("POST", "/change", change, serve=SAGA)) as running:
        _, writer = await running.connect()
        writer.write(b"POST /change HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
        await started.wait()
        writer.close()
        await until(lambda: running.listener.connections == 0)
        assert not done.is_set()
        go.set()
        await running.dispatcher.settle(2.0)
        assert done.is_set()


@both_loops
async def test_what_is_no_saga_ends_with_its_client() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(call: Call[Any]) -> web.StreamResponse:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with proxy(nothing, Route("GET", "/wait", wait, serve=VIEW)) as running:
        _, writer = await running.connect()
        writer.write(b"GET /wait HTTP/1.1\r\nHost: d\r\n\r\n")
        await started.wait()
        writer.close()
        async with asyncio.timeout(2):
            await cancelled.wait()


@both_loops
async def test_pages_are_written_as_they_are() -> None:
    async def pages(call: Call[Any]) -> web.StreamResponse:
        return await replies.json_pages(call, [b"[", b"1,", b"2" * 3_000_000, b"]\n"])

    async with proxy(nothing, Route("GET", "/pages", pages, serve=VIEW)) as running:
        head, body = await running.ask("GET /pages")
        assert "Content-Length: 3000005" in head
        assert body == b"[1," + b"2" * 3_000_000 + b"]\n"


@both_loops
async def test_requests_in_a_row_on_one_connection_in_any_cut() -> None:
    async with proxy(nothing, *SHOW) as running:
        reader, writer = await running.connect()
        ask = b"GET /containers/json HTTP/1.1\r\nHost: d\r\n\r\n"
        for part in (ask, ask[:10], ask[10:30], ask[30:], ask + ask):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.005)
        for _ in range(4):
            head = await read_head(reader)
            assert head.startswith("HTTP/1.1 200")
            await reader.readline()
        writer.write(b"nonsense\r\n\r\n")
        assert (await read_head(reader)).startswith("HTTP/1.0 400")
        writer.close()
