"""From a request to its row to a reply: the handler of aiohttp's low-level server.

Works on the raw path: the version is cut off, the rest split at slashes, and decoded only where it holds a "%", so that
what is passed on to an engine is what the client sent. Order as in an engine: unclean paths are redirected, unknown
routes are 404, then the version is judged, then the row answers.

Cost: 10–15 µs a request on top of aiohttp's own.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Generic
from urllib.parse import quote, unquote

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from swarmproxy.api import replies
from swarmproxy.api.call import C, Call
from swarmproxy.api.connection import Connection
from swarmproxy.api.hijack import hijack
from swarmproxy.api.passthrough import passthrough
from swarmproxy.api.route import SAGA, Match, Route, Serve, Table, Then
from swarmproxy.api.versions import Versions, split
from swarmproxy.engine.client import Engine
from swarmproxy.engine.version import number
from swarmproxy.model.errors import DockerError

Resolve = Callable[[Call[C]], Awaitable[tuple[Engine, str]]]
"""Names the engine of a call, and the full id that replaces the name in its path ("" = leave the path alone)."""
After = Callable[[Call[C], Route[C]], Awaitable[None]]


async def _nothing(call: Call[C], route: Route[C]) -> None:
    pass


class Dispatcher(Generic[C]):
    """Answers requests. Its `handle` is what `server.Listener` is given.

    Args:
        resolve_owner: for OWNER rows without a handler. Raises NotFound in Docker's words.
        resolve: the same for other kinds of rows without a handler.
        after: run for rows that say anything but NOTHING, before the reply ends; a failure is logged, not told.
    """

    def __init__(
        self,
        routes: Iterable[Route[C]],
        *,
        cluster: C,
        versions: Versions,
        resolve_owner: Resolve[C],
        resolve: Mapping[Serve, Resolve[C]] | None = None,
        after: After[C] = _nothing,
    ) -> None:
        self.table = Table(routes)
        self.cluster = cluster
        self.versions = versions
        self.resolve: dict[Serve, Resolve[C]] = {Serve.OWNER: resolve_owner, **(resolve or {})}
        self.after = after
        self._headers = replies.identity(versions.advertised)
        self._sagas: set[asyncio.Task[web.StreamResponse]] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target, _, query = request.raw_path.partition("?")
        reply: web.StreamResponse
        try:
            reply = await self._answer(request, target, query)
        except DockerError as problem:
            reply = replies.failure(problem, self._identity())
        except (ConnectionError, asyncio.CancelledError):
            raise
        except RequestPayloadError as problem:
            reply = replies.error(400, f"the request's body is broken: {problem}", self._identity())
            reply.force_close()
        except Exception as problem:
            if request.writer.output_size:
                raise
            reply = replies.failure(problem, self._identity())
        protocol = request.protocol
        if isinstance(protocol, Connection) and protocol.holding:
            protocol.release()
        return reply

    async def _answer(self, request: web.BaseRequest, target: str, query: str) -> web.StreamResponse:
        if "//" in target or "/." in target or "%" in target:
            cleaned = clean(target)
            if cleaned is not None:
                location = f"{cleaned}?{query}" if query else cleaned
                return web.Response(status=301, headers={"Location": location})
        version, path = split(target)
        segments = path.split("/")[1:]
        decoded = path
        if "%" in path:
            segments = [unquote(segment) for segment in segments]
            decoded = "/".join(("", *segments))
        if request.method == "OPTIONS":
            return web.Response(status=200, headers=self._identity())
        match = self.table.find(request.method, decoded, segments) if segments else None
        if match is None or (match.route.since and version and number(version) < number(match.route.since)):
            return replies.not_found()
        if version:
            self.versions.check(version)
        call = Call(
            request=request,
            route=match.route,
            params=match.params,
            version=version or self.versions.advertised,
            path=path,
            query=query,
            cluster=self.cluster,
            headers=self._identity(),
            span=(match.start, match.end),
        )
        return await self._serve(call, match)

    async def _serve(self, call: Call[C], match: Match[C]) -> web.StreamResponse:
        route = match.route
        if route.handler is not None:
            if route.serve is SAGA:
                return await self._to_its_end(route.handler(call))
            return await route.handler(call)
        resolve = self.resolve.get(route.serve)
        if resolve is None:
            return replies.not_found()
        engine, name = await resolve(call)
        call.owner = engine, name
        path = call.path_with(name) if name else call.path
        if route.hijack:
            return await hijack(call, engine, path)
        after = self.after if route.then is not Then.NOTHING else None
        return await passthrough(call, engine, path, after=after)

    async def _to_its_end(self, work: Awaitable[web.StreamResponse]) -> web.StreamResponse:
        """A saga is not torn by a client that goes: its claims would be left to the sweeper."""
        task = asyncio.ensure_future(work)
        self._sagas.add(task)
        task.add_done_callback(self._sagas.discard)
        return await asyncio.shield(task)

    async def settle(self, timeout: float) -> None:
        """Waits up to `timeout` seconds for sagas whose clients are gone, then cancels them."""
        if not self._sagas:
            return
        _, late = await asyncio.wait(self._sagas, timeout=timeout)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def _identity(self) -> Mapping[str, str]:
        if self._headers["Api-Version"] != self.versions.advertised:
            self._headers = replies.identity(self.versions.advertised)
        return self._headers


def clean(target: str) -> str | None:
    """Where an unclean path is redirected to (`//x`, `/a/../b`, `/containers/%2Fweb`), or None when it is clean."""
    path = unquote(target)
    if "//" not in path and "/." not in path:
        return None
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    if path.endswith("/") and cleaned != "/":
        cleaned += "/"
    return None if cleaned == path else quote(cleaned)
