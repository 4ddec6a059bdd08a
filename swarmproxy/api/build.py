"""Builds: the classic one, and BuildKit's, whose many connections must end at one engine.

    POST /build                     one stream; placed like a container, constraints are build arguments
    POST /build?version=2&session=  the same, and its uuid is bound to the node        (the docker command up to 22)
    POST /session                   a tunnel; its uuid's node, or its client's          (buildx, Compose, that command)
    POST /grpc                      a tunnel; its client's node                         (buildx, Compose)

Which node is `lifecycle.buildsession`'s to say; this is the HTTP around it. A client that goes breaks the engine's side
at once, and with it the build.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import msgspec
from aiohttp import web

from swarmproxy.api import replies
from swarmproxy.api.buildrpc import Answering, Asking, FromLines, Holding, Sending, Solves
from swarmproxy.api.call import Call
from swarmproxy.api.hijack import End, hijack
from swarmproxy.api.passthrough import HOP, Relayed, relayed, upload
from swarmproxy.cluster.node import Node
from swarmproxy.engine.deadline import BULK
from swarmproxy.engine.stream import Stream
from swarmproxy.lifecycle import build
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.lifecycle.refusal import failed
from swarmproxy.model.errors import BadRequest, DockerError, EngineUnreachable

log = logging.getLogger(__name__)

SESSION = "X-Docker-Expose-Session-Uuid"
SHARED_KEY = "X-Docker-Expose-Session-Sharedkey"
_COMMANDS_OWN = re.compile(r"[0-9a-f]{64}\Z")
"""The key that the docker command's own sessions share: a `/build` names such a session. buildx sends none, Compose
another."""
_DROPPED = HOP | {"host", "expect", "content-length"}
_FAILED = b'{"errorDetail":'


Side = Callable[[asyncio.Transport], End]


def peer(request: web.BaseRequest) -> str:
    """Whose call it is, as far as a connection tells: certificate and address, on a unix socket the process."""
    transport = request.transport
    if transport is None:
        return ""
    certificate = transport.get_extra_info("ssl_object")
    identity = certificate.getpeercert(binary_form=True) if certificate is not None else None
    who = hashlib.sha256(identity).hexdigest()[:16] if identity else ""
    name = transport.get_extra_info("peername")
    if isinstance(name, tuple):
        return f"{who}@{name[0]}"
    sock = transport.get_extra_info("socket")
    pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return f"{who}@process {pid}"


@contextmanager
def _entered(
    call: Call[Cluster], node: Node, *, session: str = "", build: str = "", alone: bool = False
) -> Iterator[None]:
    """The node is this call's while it lasts; `alone`: its client's other calls have nothing to do with it."""
    table = call.cluster.builds
    whose = "" if alone else peer(call.request)
    ticket = table.enter(whose, node.id, time.monotonic(), session=session, build=build)
    reached = True
    try:
        yield
    except EngineUnreachable:
        reached = False
        raise
    finally:
        table.leave(ticket, time.monotonic(), reached=reached)


async def grpc(call: Call[Cluster]) -> web.StreamResponse:
    node = await build.for_peer(call.cluster, peer(call.request))
    solves = Solves()

    async def made(tags: list[str]) -> None:
        try:
            await build.made(call.cluster, node, tags)
        except DockerError as error:
            log.warning("tags of a build on %s are not told to the cluster: %s", node.name, error)

    with _entered(call, node):
        return await _tunnel(call, node, lambda side: Asking(side, solves), lambda side: Answering(side, made, solves))


async def session(call: Call[Cluster]) -> web.StreamResponse:
    """Before its build, when that is what will choose the node, it waits for it."""
    cluster, uuid = call.cluster, call.request.headers.get(SESSION, "")
    node = build.of_session(cluster, uuid)
    if node is None and uuid and _COMMANDS_OWN.match(call.request.headers.get(SHARED_KEY, "")):
        node = await build.expected(cluster, uuid)
    target = node or await build.for_peer(cluster, peer(call.request))

    async def bring(names: list[str]) -> None:
        await build.bring(cluster, target, names)

    with _entered(call, target, session=uuid):
        return await _tunnel(call, target, lambda side: Sending(side, bring), End)


async def _tunnel(call: Call[Cluster], node: Node, client: Side, engine: Side) -> web.StreamResponse:
    """A tunnel that is listened in to; what is under way at its end goes on to its own."""
    sides: list[End] = []

    def noted(make: Side) -> Side:
        def side(transport: asyncio.Transport) -> End:
            sides.append(make(transport))
            return sides[-1]

        return side

    try:
        return await hijack(call, node.engine, call.path, ends=(noted(client), noted(engine)))
    finally:
        for side in sides:
            if isinstance(side, Holding):
                call.cluster.spawn(side.settled())


async def build_(call: Call[Cluster]) -> web.StreamResponse:
    """The classic build, and BuildKit's by `version=2`: one progress stream."""
    cluster, query = call.cluster, call.query
    uuid = query.get("session")
    try:
        wanted = await build.read(cluster, {key: query.get(key) for key in build.READ})
        await build.look(cluster)
        node = build.of_session(cluster, uuid) or build.choose(cluster, wanted)
    except DockerError:
        if uuid:
            cluster.builds.refuse(uuid, time.monotonic())
        raise
    with _entered(call, node, session=uuid, build=query.get("buildid"), alone=not uuid):
        asked = await build.engine_query(cluster, node, wanted, query.raw)
        headers = [(key, value) for key, value in call.request.headers.items() if key.lower() not in _DROPPED]
        body = await _with_bases(call, node, await upload(call.request, headers))
        async with node.engine.stream(
            "POST", call.path, query=asked, body=body, headers=headers, deadline=BULK, version=call.version
        ) as answer:
            if answer.status != 200:
                raise failed(answer.status, await answer.read(), node)
            return await _progress(call, node, answer)


async def _with_bases(
    call: Call[Cluster], node: Node, body: bytes | AsyncIterator[bytes] | None
) -> bytes | AsyncIterator[bytes] | None:
    """The context; where it names an image that only other nodes have, it waits until the node has it, too."""
    lines = FromLines()
    if isinstance(body, bytes):
        await build.bring(call.cluster, node, lines.feed(body + b"\n"))
    if body is None or isinstance(body, bytes):
        return body
    return _held(call, node, body, lines)


async def _held(call: Call[Cluster], node: Node, body: AsyncIterator[bytes], lines: FromLines) -> AsyncIterator[bytes]:
    async for piece in body:
        if names := lines.feed(piece):
            await build.bring(call.cluster, node, names)
        yield piece


async def _progress(call: Call[Cluster], node: Node, answer: Stream) -> web.StreamResponse:
    """Passes the stream on; what it has tagged means the new image before the stream's end is sent."""
    reply = relayed(Relayed, call, answer.status, answer.reason, answer.headers.items())
    await reply.prepare(call.request)
    failure, tail = False, b""
    try:
        while chunk := await answer.chunk():
            failure = failure or _FAILED in tail + chunk
            tail = chunk[-len(_FAILED) :]
            await reply.write(chunk)
        if not failure:
            await build.made(call.cluster, node, call.query.all("t"))
    except DockerError as error:
        line = {"errorDetail": {"message": str(error)}, "error": str(error)}
        await reply.write(msgspec.json.encode(line) + b"\r\n")
    await reply.write_eof()
    return reply


async def cancel(call: Call[Cluster]) -> web.StreamResponse:
    """An engine says 200 to an id that it does not know, too: the build may have ended in between."""
    identity = call.query.get("id")
    if not identity:
        raise BadRequest("build ID not provided")
    node = call.cluster.view.nodes.get(call.cluster.builds.of_build(identity))
    if node is not None:
        answer = await node.engine.call("POST", "/build/cancel", query=call.query.raw, version=call.version)
        if answer.status != 200:
            raise failed(answer.status, answer.body, node)
    return replies.empty(call, 200)
