"""Bytes that no client should send: refused in Docker's form or hung up on, no 5xx of our own, nothing left."""

from __future__ import annotations

import asyncio
import json
import time
from urllib.parse import quote

import pytest

from swarmproxy.api import connection
from tests.unit.protocol.pair import HELD, Pair

SECONDS = 5.0
JSON = b"Content-Type: application/json\r\n"
DEEP = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
CREATE = b"POST /containers/create HTTP/1.1\r\nHost: x\r\n"


def get(path: str, head: bytes = b"") -> bytes:
    return b"GET " + path.encode("latin-1") + b" HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n"


def post(path: str, body: bytes, head: bytes = JSON) -> bytes:
    length = f"Content-Length: {len(body)}\r\n".encode()
    return b"POST " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n" + head + length + b"\r\n" + body


def filtered(text: str) -> str:
    return f"/containers/json?all=1&filters={quote(text)}"


SMUGGLED = get("/info")
"""Must never be answered: it hides behind a body."""
REFUSED = {
    "length and chunked": CREATE + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": CREATE + JSON + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}" + SMUGGLED,
    "a negative length": CREATE + b"Content-Length: -1\r\n\r\n" + SMUGGLED,
    "a length with a sign": CREATE + JSON + b"Content-Length: +2\r\n\r\n{}" + SMUGGLED,
    "chunked, then identity": CREATE + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "an unknown coding": CREATE + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a space before the colon": CREATE + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a folded header": get("/info", b"X-A: 1\r\n  folded\r\n"),
    "5,000 headers": get("/info", b"".join(b"X-%d: y\r\n" % number for number in range(5000))),
    "a path of 70 kB": get("/" + "a" * 70_000),
    "NUL in a header": get("/info", b"X-A: a\0b\r\n"),
    "NUL in the path": get("/in\0fo"),
    "a bare CR": get("/info", b"X-A: x\rX-B: y\r\n"),
    "a version of another world": b"GET /info HTTP/9.9\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method that is none": b"get /info HTTP/1.1\r\nHost: x\r\n\r\n",
    "a chunk without a size": CREATE + JSON + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond all sizes": CREATE + JSON + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n{}",
    "NUL in a name": get("/containers/a%00b/json"),
    "a slash in a name": get("/containers/a%2Fb/json"),
    "no escape": get("/containers/%zz/json"),
    "no UTF-8 in a name": get("/containers/%ff%fe/json"),
    "CONNECT": b"CONNECT example.com:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "arrays without an end": post("/containers/create", b"[" * 100_000),
    "deep JSON": post("/containers/create", DEEP),
    "deep JSON in a field": post("/containers/create", b'{"Image":"busybox","New":' + DEEP + b"}"),
    "deep JSON for a network": post("/networks/create", b'{"Name":"deep","Options":' + DEEP + b"}"),
    "deep JSON for a volume": post("/volumes/create", DEEP),
    "no UTF-8 in JSON": post("/containers/create", b'{"Image":"\xff\xfe"}'),
    "half a surrogate": post("/containers/create?name=%ED%A0%80", b'{"Image":"busybox"}'),
    "gzip for JSON": post("/containers/create", b"\x1f\x8b\x08\0", JSON + b"Content-Encoding: gzip\r\n"),
    "filters that are not JSON": get("/containers/json?filters=%7Bbad"),
    "filters of another type": get("/containers/json?filters=%5B1%5D"),
    "deep filters": get(filtered('{"a":' * 2_000)),
    "no UTF-8 in filters": get("/containers/json?filters=%7B%22name%22%3A%5B%22%ff%22"),
    "a version beyond all": get("/v1.999999999999999999999999/info"),
    "a version in three parts": get("/v1.4.1/info"),
}
ODD = {  # an engine answers these; so do we, and the connection lives on
    "a double slash": get("//info"),
    "dots": get("/containers/../info"),
    "escaped dots": get("/containers/%2e%2e/json"),
    "a whole URL": get("http://evil/info"),
    "64 kB of header": get("/_ping", b"X-A: " + b"a" * 60_000 + b"\r\n"),
    "OPTIONS": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "a limit with a sign": get("/containers/json?limit=-1"),
    "a pattern that is none": get(filtered('{"name":["("]}')),
}


async def sent(pair: Pair, raw: bytes, *, until: bytes = b"\n") -> bytes:
    """What comes back until it ends so, or the proxy hangs up."""
    host, port = pair.proxies[0].urls[0].removeprefix("tcp://").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = b""
    try:
        writer.write(raw)
        async with asyncio.timeout(SECONDS):
            while not answer.endswith(until) and (part := await reader.read(65536)):
                answer += part
    except ConnectionError:
        pass
    finally:
        writer.close()
    return answer


async def test_each_is_refused_once_and_leaves_nothing(pair: Pair) -> None:
    for what, raw in REFUSED.items():
        answer = await sent(pair, raw)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert answer.count(b"HTTP/1.") == 1 and 400 <= int(head.split()[1]) < 500, (what, answer[:300])
        assert json.loads(body)["message"], (what, answer[:300])
        assert b"RecursionError" not in answer and b"Traceback" not in answer
    assert not any(pair.containers().values())
    assert not await pair.stored(*HELD, "networks/", "netnames/", "volumes/")
    assert (await pair.create("still")).status == 201


async def test_what_is_only_odd_is_answered(pair: Pair) -> None:
    for what, raw in ODD.items():
        answer = await sent(pair, raw + get("/_ping"), until=b"OK")
        statuses = [int(line.split()[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
        assert statuses[-1] == 200 and all(status < 400 for status in statuses), (what, answer[:300])


async def test_a_numbers_text_is_refused_in_gos_words(pair: Pair) -> None:
    for limit, why in (("x", "invalid syntax"), ("9" * 30, "value out of range")):
        reply = await pair.ask("GET", "/containers/json", limit=limit)
        assert (reply.status, reply.message) == (500, f'strconv.Atoi: parsing "{limit}": {why}')


async def test_no_pattern_holds_up_the_others(pair: Pair) -> None:
    assert (await pair.create("a" * 60 + ".b")).status == 201
    begun = time.monotonic()
    for pattern in ("(a+)+$", "(a|aa)+$", "a*" * 30 + "$"):
        reply = await pair.ask("GET", "/containers/json", all="1", filters={"name": [f"^{pattern}"]})
        assert (reply.status, reply.body) == (200, [])
    assert time.monotonic() - begun < 2


async def test_a_head_that_comes_a_byte_at_a_time_is_hung_up_on(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    host, port = pair.proxies[0].urls[0].removeprefix("tcp://").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    ended = asyncio.create_task(reader.read())
    begun = time.monotonic()
    for byte in get("/info", b"X-A: " + b"a" * 10_000 + b"\r\n"):
        if ended.done():
            break
        writer.write(bytes([byte]))
        await asyncio.sleep(0.01)
    assert await ended == b""
    assert time.monotonic() - begun < SECONDS
    writer.close()
    assert (await sent(pair, get("/_ping"), until=b"OK")).endswith(b"OK")
