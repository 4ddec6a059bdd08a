"""One request handed to one engine, its reply handed back, neither held longer than the wire needs.

Heads go on at once (`docker run` waits for the head of `wait` before it starts the container). Bodies move piece by
piece and the slower side sets the pace. Small replies of calls with a deadline are read whole within it and sent in one
write: that is the usual inspect, and it is what makes the proxy cost a third of a millisecond. Beyond `WHOLE` bytes
the deadline is lifted and the rest streams, since only the client's own pace is left to wait for.

A client that goes cancels the handler, which breaks the engine's side; an engine that breaks in the middle of a reply
breaks the client's connection, so that a cut reply never looks complete.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from aiohttp import hdrs, web

from swarmproxy.api.body import go_on, read_limited
from swarmproxy.api.call import C, Call
from swarmproxy.api.route import Route
from swarmproxy.engine.client import Engine
from swarmproxy.engine.stream import Stream
from swarmproxy.model.errors import EngineUnreachable

log = logging.getLogger(__name__)

WHOLE = 256 << 10
"""Bytes of a reply that are read before any of it is sent, where a deadline holds for the whole."""
SMALL_UPLOAD = 64 << 10
"""Bytes; a request body of known length up to this is read before the engine is asked."""
REWRITE_LIMIT = 64 << 20

HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_REQUEST_DROPS = HOP | {"host", "expect", "content-length"}
_REPLY_DROPS = HOP | {"api-version", "docker-experimental", "ostype", "server"}

After = Callable[[Call[C], Route[C]], Awaitable[None]]


class Relayed(web.StreamResponse):
    """An engine's reply: no header is made up, a body's length stays as it was told."""

    _send_headers_immediately = True

    async def _prepare_headers(self) -> None:
        typed = hdrs.CONTENT_TYPE in self.headers
        await super()._prepare_headers()
        if not typed and hdrs.CONTENT_TYPE in self.headers:
            del self.headers[hdrs.CONTENT_TYPE]


class RelayedWhole(Relayed):
    """The same with its body at hand: head and body leave in one write."""

    _send_headers_immediately = False


async def passthrough(call: Call[C], engine: Engine, path: str, *, after: After[C] | None = None) -> web.StreamResponse:
    """Forwards `call` to `engine` under `path` (raw, without version).

    Args:
        after: awaited before the last of the reply is written; what it raises is logged, not told.

    Raises:
        EngineUnreachable, EngineTimeout: before anything was written.
        ConnectionResetError: after; the client's connection must not be used again.
    """
    request = call.request
    headers = [(key, value) for key, value in request.headers.items() if key.lower() not in _REQUEST_DROPS]
    body = await upload(request, headers)
    route = call.route
    async with engine.stream(
        call.method,
        path,
        query=call.query.raw,
        body=body,
        headers=headers,
        deadline=route.deadline,
        version=call.version,
    ) as stream:
        call.status = stream.status
        if route.rewrite is not None and stream.status == 200:
            return await _rewritten(call, stream, after)
        if route.deadline.limited or stream.status >= 400:
            parts, whole = await _begin(stream)
            stream.unbind()
            if whole:
                await _finish(call, after)
                return await _send_whole(call, stream, b"".join(parts))
            return await _send_rest(call, stream, parts, after)
        return await _send_rest(call, stream, [], after)


async def upload(request: web.BaseRequest, headers: list[tuple[str, str]]) -> bytes | AsyncIterator[bytes] | None:
    """The request's body: nothing, small bytes, or pieces as they come; tells its length in `headers` when known."""
    length = request.content_length
    if not request.body_exists or length == 0:
        return None
    if length is not None and length <= SMALL_UPLOAD:
        return await read_limited(request, length)
    go_on(request)
    if length is not None:
        headers.append(("Content-Length", str(length)))
    return request.content.iter_any()


def relayed(kind: type[Relayed], call: Call[C], status: int, reason: str, sent: Iterable[tuple[str, str]]) -> Relayed:
    """A reply with an engine's status and headers, but for those of the hop and those that are the proxy's own."""
    reply = kind(status=status, reason=reason)
    headers = reply.headers
    for key, value in sent:
        if key.lower() not in _REPLY_DROPS:
            headers.add(key, value)
    headers.update(call.headers)
    return reply


async def _begin(stream: Stream) -> tuple[list[bytes], bool]:
    """Reads up to WHOLE bytes: the pieces, and whether that was all."""
    parts: list[bytes] = []
    size = 0
    if (stream.length or 0) > WHOLE:
        return parts, stream.ended
    while size <= WHOLE:
        part = await stream.chunk()
        if not part:
            return parts, True
        parts.append(part)
        size += len(part)
    return parts, stream.ended


_ECHO = re.compile(
    rb"(?<= in container )[0-9a-f]{64}|(?<=kill container: )[0-9a-f]{64}|[0-9a-f]{64}(?= is paused, unpause)"
)


def as_spelt(body: bytes, identity: str, reference: str) -> bytes:
    """A refusal in which the engine says back what it was asked for: the id, where the client had used another word.

    In its other sentences an engine says the id whatever it was asked for; there the id stays.
    """
    return _ECHO.sub(lambda found: reference.encode() if found[0] == identity.encode() else found[0], body)


async def _send_whole(call: Call[C], stream: Stream, body: bytes) -> web.StreamResponse:
    if stream.status >= 400 and call.owner is not None and (reference := call.params.get("container")):
        body = as_spelt(body, call.owner[1], reference)
    reply = relayed(RelayedWhole, call, stream.status, stream.reason, stream.headers.items())
    if call.method != "HEAD" and stream.status not in (204, 304):
        reply.content_length = len(body)
    await reply.prepare(call.request)
    await reply.write_eof(body)
    return reply


async def _send_rest(call: Call[C], stream: Stream, parts: list[bytes], after: After[C] | None) -> web.StreamResponse:
    """Head at once, then the pieces. With `after`, one piece stays back until the end is known to have come."""
    reply = relayed(Relayed, call, stream.status, stream.reason, stream.headers.items())
    bodiless = stream.ended and not parts
    if bodiless:
        await _finish(call, after)
    await reply.prepare(call.request)
    last = b""
    try:
        for part in parts:
            await reply.write(part)
        while part := await stream.chunk():
            if after is not None:
                part, last = last, part
            if part:
                await reply.write(part)
    except EngineUnreachable as problem:
        log.info("reply of %s %s cut: %s", call.method, call.path, problem)
        raise ConnectionResetError("the engine's reply broke off") from problem
    if not bodiless:
        await _finish(call, after)
    await reply.write_eof(last)
    return reply


async def _rewritten(call: Call[C], stream: Stream, after: After[C] | None) -> web.StreamResponse:
    rewrite: Any = call.route.rewrite
    body = rewrite(call, await stream.read())
    stream.unbind()
    await _finish(call, after)
    return await _send_whole(call, stream, body)


async def _finish(call: Call[C], after: After[C] | None) -> None:
    if after is None:
        return
    try:
        await after(call, call.route)
    except Exception:
        log.exception("after %s %s", call.method, call.path)
