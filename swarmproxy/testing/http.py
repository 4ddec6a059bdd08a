"""Honest HTTP over a `Daemon`: versions, headers, error bodies, lengths and chunks as an engine sends them.

aiohttp's low-level server, one handler, an own table of routes. An ordinary answer is computed in one synchronous step,
so a request is applied wholly or not at all and faults can strike before or after it. Streams and hijacked connections
are in `streams` and `hijack`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
from aiohttp import web

from swarmproxy.model.errors import BadRequest, DockerError
from swarmproxy.testing.daemon import Daemon
from swarmproxy.testing.faults import Call, Fault, Faults
from swarmproxy.testing.flavour import version_tuple

__all__ = ["JSON", "Asked", "Front", "Reply", "Stream", "json_reply"]

Tree = dict[str, Any]

JSON = "application/json"
_VERSION = re.compile(r"/v(\d+(?:\.\d+)*)(/.*)")
_CHUNKED_FROM = 2048
"""Go's server sends a length only for what fits its buffer."""


@dataclass(slots=True)
class Reply:
    """A whole answer. No content type, no header of that name."""

    status: int = 200
    body: bytes = b""
    type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    bare: bool = False
    """Without the engine's own headers."""


def json_reply(value: object, status: int = 200) -> Reply:
    return Reply(status, msgspec.json.encode(value) + b"\n", JSON)


class Stream(web.StreamResponse):
    """A response with no header that was not asked for: aiohttp would add its own type and server."""

    untyped = False
    anonymous = False

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        if self.untyped:
            self.headers.popall("Content-Type", None)
        if self.anonymous:
            self.headers.popall("Server", None)


@dataclass(slots=True)
class Asked:
    """One request, taken apart."""

    front: Front
    http: web.BaseRequest
    call: Call
    api: tuple[int, ...]
    arguments: tuple[str, ...] = ()
    query: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def daemon(self) -> Daemon:
        return self.front.daemon

    @property
    def id(self) -> str:
        """The path's first variable."""
        return self.arguments[0]

    def get(self, key: str) -> str:
        return self.query.get(key, [""])[0]

    def tree(self, *, optional: bool = False) -> Tree:
        """The JSON object of the body; `null` is {}.

        Raises:
            DockerError: an engine's words for what is wrong with it.
        """
        old = self.daemon.flavour.old
        body = self.call.body
        if optional and not body:
            return {}
        kind = self.http.headers.get("Content-Type", "")
        if kind.partition(";")[0].strip() != JSON and (kind or body):
            if old:
                raise BadRequest(f"Content-Type specified ({kind}) must be 'application/json'")
            if not kind:
                raise BadRequest("malformed Content-Type header (): mime: no media type")
            raise BadRequest(f"unsupported Content-Type header ({kind}): must be 'application/json'")
        try:
            value, rest = _decode(body)
        except ValueError as error:
            words = str(error)
            if words == "EOF" and not old:
                words = "got EOF while reading request body"
            raise DockerError(words if old else f"invalid JSON: {words}", status=500 if old else 400) from None
        if rest and not old:
            raise BadRequest("unexpected content after JSON")
        if value is not None and not isinstance(value, dict):
            words = f"json: cannot unmarshal {_go_kind(value)} into Go value of type runconfig.ContainerConfigWrapper"
            raise DockerError(words if old else f"invalid JSON: {words}", status=500 if old else 400)
        return value or {}


def _go_kind(value: object) -> str:
    return {list: "array", str: "string", bool: "bool"}.get(type(value), "number")


def _decode(body: bytes) -> tuple[object, bytes]:
    """The first JSON value and what follows it. Raises ValueError with Go's words."""
    text = body.lstrip()
    if not text:
        raise ValueError("EOF")
    try:
        return msgspec.json.decode(text), b""
    except msgspec.DecodeError:
        pass
    plain = text.decode("utf-8", "replace")
    try:
        value, end = json.JSONDecoder().raw_decode(plain)
    except json.JSONDecodeError as error:
        follows = plain[error.pos :].lstrip()[:1]
        if not follows or "Unterminated" in error.msg:
            raise ValueError("unexpected EOF") from None
        place = "object key string" if "property name" in error.msg else "value"
        raise ValueError(f"invalid character '{follows}' looking for beginning of {place}") from None
    return value, plain[end:].strip().encode()


Whole = Callable[[Asked], Reply]
Streaming = Callable[[Asked], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """`answer` for ordinary calls, or `stream`."""

    method: str
    pattern: re.Pattern[str]
    answer: Whole | None = None
    stream: Streaming | None = None


class _Cut(Exception):
    """Abort the connection without an answer."""


class Front:
    """The HTTP face of one daemon."""

    def __init__(self, daemon: Daemon, routes: Mapping[str, tuple[Route, ...]], *, keep_calls: int = 1000) -> None:
        self.daemon = daemon
        self.routes = routes
        self.faults = Faults()
        self.calls: deque[Call] = deque(maxlen=keep_calls)
        self.going = asyncio.Event()
        """Cleared while the process is stopped: nothing is answered, streams stand still."""
        self.going.set()
        self.tunnels: set[asyncio.Transport] = set()
        self.server = web.Server(self._handle, access_log=None, handler_cancellation=True, keepalive_timeout=3600)

    # ------------------------------------------------------------ one request

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except _Cut:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except ConnectionError:  # the client went; nobody is left to tell
            return web.Response()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        raw, _, query = request.raw_path.partition("?")
        versioned = _VERSION.fullmatch(raw)
        version, path = (versioned[1], versioned[2]) if versioned else ("", raw)
        path = unquote(path)
        body = b"".join([chunk async for chunk in request.content.iter_any()]) if request.can_read_body else b""
        call = Call(request.method, path, query, body, version)
        self.calls.append(call)
        fault = self.faults.take(call)
        await self._before(fault)
        asked = Asked(self, request, call, version_tuple(version or self.daemon.flavour.api), (), {})
        try:
            if fault is not None and fault.kind == "status":
                raise DockerError(fault.message, status=fault.status)
            self._check_version(version)
            asked.query = parse_qs(query, keep_blank_values=True)
            route, asked.arguments = self._find(call)
            if route.stream is not None:
                return await route.stream(asked)
            assert route.answer is not None
            reply = route.answer(asked)
        except _NoRoute:
            reply = json_reply({"message": "page not found"}, 404)
            reply.bare = True
        except DockerError as error:
            reply = json_reply({"message": error.words}, error.status)
            if isinstance(error, _WrongVersion):
                reply = self._version_refusal(error, reply)
        if fault is not None and fault.kind == "lose":
            raise _Cut
        return await self.send(request, reply)

    async def _before(self, fault: Fault | None) -> None:
        await self.going.wait()
        delay = self.faults.latency + (fault.seconds if fault is not None and fault.kind == "delay" else 0.0)
        if delay > 0:
            await asyncio.sleep(delay)
            await self.going.wait()
        if fault is not None and fault.kind == "hang":
            await asyncio.get_running_loop().create_future()
        if fault is not None and fault.kind == "drop":
            raise _Cut

    def _check_version(self, version: str) -> None:
        if not version:
            return
        flavour, asked = self.daemon.flavour, version_tuple(version)[:2]
        if asked > version_tuple(flavour.api):
            raise _WrongVersion(f"client version {version} is too new. Maximum supported API version is {flavour.api}")
        if asked < version_tuple(flavour.minimum):
            raise _WrongVersion(
                f"client version {version} is too old. Minimum supported API version is {flavour.minimum}, "
                "please upgrade your client to a newer version"
            )

    def _version_refusal(self, error: DockerError, reply: Reply) -> Reply:
        """20.10 refuses old versions in plain text."""
        headers = {key: value for key, value in self.headers.items() if key != "Docker-Experimental"}
        if self.daemon.flavour.old and "too old" in error.words:
            reply = Reply(error.status, error.words.encode() + b"\n", "text/plain; charset=utf-8")
            headers["X-Content-Type-Options"] = "nosniff"
        reply.headers, reply.bare = headers, True
        return reply

    def _find(self, call: Call) -> tuple[Route, tuple[str, ...]]:
        first = call.path.split("/", 2)[1] if call.path.startswith("/") else ""
        for route in self.routes.get(first, ()):
            if route.method == call.method:
                match = route.pattern.fullmatch(call.path)
                if match:
                    return route, match.groups()
        raise _NoRoute

    # ------------------------------------------------------------ answers

    @property
    def headers(self) -> dict[str, str]:
        """What every handled route carries."""
        flavour = self.daemon.flavour
        return {
            "Api-Version": flavour.api,
            "Docker-Experimental": "false",
            "Ostype": "linux",
            "Server": flavour.server,
        }

    async def send(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        response = Stream(status=reply.status, headers=dict(reply.headers))
        response.untyped = not reply.type
        response.anonymous = reply.bare and "Server" not in reply.headers
        if not reply.bare:
            response.headers.update(self.headers)
        if reply.type:
            response.headers["Content-Type"] = reply.type
        empty = reply.status in (204, 304)
        if not empty and len(reply.body) <= _CHUNKED_FROM:
            response.content_length = len(reply.body)
        await response.prepare(request)
        if reply.body and not empty and request.method != "HEAD":
            await self.write(response, reply.body)
        await response.write_eof()
        return response

    async def open(self, asked: Asked, *, type: str = "", status: int = 200) -> Stream:
        """A streamed answer, its head already sent."""
        response = Stream(status=status, headers=self.headers)
        response.untyped = not type
        if type:
            response.headers["Content-Type"] = type
        await response.prepare(asked.http)
        return response

    async def write(self, response: Stream, data: bytes) -> None:
        """At the pace that `faults.rate` allows; not at all while the engine hangs."""
        await self.going.wait()
        if not self.faults.rate:
            await response.write(data)
            return
        step = max(1, self.faults.rate // 20)
        for start in range(0, len(data), step):
            await response.write(data[start : start + step])
            await asyncio.sleep(step / self.faults.rate)


class _NoRoute(Exception):
    pass


class _WrongVersion(BadRequest):
    pass
