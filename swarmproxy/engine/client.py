"""One engine: its calls, streams and tunnels, each with a deadline, behind one breaker.

`call` reads the whole reply (over `wire`, the cheap way), `stream` hands it out as it comes (over aiohttp), `tunnel` is
a raw connection. Calls hold a place in a
limit (64 by default) so that one slow engine cannot take all sockets; the wait for a place counts against the deadline.
Streams and tunnels hold none: a thousand `logs -f` are normal.

While tripped, everything but probes fails at once. The breaker does not decide: `observer` is told what the transport
saw (an answer, a refusal, a time-out of a QUICK call), and whoever watches calls `trip` and `restore`.

A GET or HEAD that meets a connection closed under it before any byte came is sent once more: the engine has restarted.
Nothing else is repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from enum import StrEnum

import aiohttp
from yarl import URL

from swarmproxy.engine import reason, wire
from swarmproxy.engine.address import Address
from swarmproxy.engine.connect import connector, dial
from swarmproxy.engine.deadline import BULK, CONNECT, QUICK, STREAM, Deadline
from swarmproxy.engine.limit import Place
from swarmproxy.engine.stream import Stream, Upload
from swarmproxy.engine.tunnel import Tunnel
from swarmproxy.engine.version import common
from swarmproxy.engine.wire import Answer, Pool, Untouched, Wire
from swarmproxy.model.errors import EngineTimeout, EngineUnreachable

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Body = bytes | AsyncIterator[bytes] | None

LIMIT = 64
READ_BUFFER = 1 << 17
"""Bytes of a reply held before the engine is made to wait."""
_REPEATABLE = frozenset(("GET", "HEAD"))
_SKIPPED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class Observation(StrEnum):
    """What a call says about the engine's health."""

    ANSWER = "answer"
    REFUSED = "refused"
    TIMEOUT = "timeout"


class Engine:
    """The client of one engine. Needs no loop before its first call; `close` ends everything under way.

    Attributes:
        api, minimum: range of API versions the engine speaks, "" while unknown (calls then carry no version).
        observer: told of every answer, refusal and telling time-out, with the reason's words.
    """

    def __init__(
        self, name: str, address: Address | str, *, tls: ssl.SSLContext | None = None, limit: int = LIMIT
    ) -> None:
        self.name = name
        self.address = Address.parse(address) if isinstance(address, str) else address
        self.api = ""
        self.minimum = ""
        self.observer: Callable[[Observation, str], None] | None = None
        self._tls = tls
        self._limit = limit
        self._places = asyncio.Semaphore(limit)
        self._tripped: str | None = None
        self._session: aiohttp.ClientSession | None = None
        self._pool = Pool(self.address, tls)
        self._host = "docker" if self.address.scheme == "unix" else self.address.authority
        self._streams: set[Stream] = set()
        self._tunnels: set[Tunnel] = set()

    def __repr__(self) -> str:
        return f"Engine({self.name!r}, {self.address.text!r})"

    @property
    def tripped(self) -> str | None:
        """The reason while calls fail at once, else None."""
        return self._tripped

    def trip(self, why: str) -> None:
        """From now on everything but probes fails with `why`; what is under way goes on."""
        self._tripped = why

    def restore(self) -> None:
        self._tripped = None

    def end_streams(self) -> None:
        """Breaks streams and tunnels under way: their engine is dead, their clients should know."""
        for stream in tuple(self._streams):
            stream.abort()
        for tunnel in tuple(self._tunnels):
            tunnel.abort()

    async def close(self) -> None:
        self._tripped = "the engine has left"
        self.end_streams()
        self._pool.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: bytes | None = None,
        headers: Headers = (),
        deadline: Deadline = QUICK,
        version: str | None = None,
        probe: bool = False,
    ) -> Answer:
        """One request, its whole reply, whatever the status.

        Args:
            path: raw, without version. query: encoded, without "?".
            deadline: its bounds on connecting and on the whole; one on the head alone (`first`) is for streams.
            version: the client's; sent is the newest that the engine speaks up to it. None = the engine's own.
            probe: goes through a tripped breaker and past the limit.

        Raises:
            EngineUnreachable: no connection, or it broke. EngineTimeout: later than the deadline.
        """
        self._admit(probe=probe)
        deadline = deadline.for_query(query)
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        request = wire.request(method, self.target(path, query, version), self._host, pairs, body)
        place = Place(self._places if deadline.limited and not probe else None)
        try:
            async with asyncio.timeout(deadline.total) as whole:
                await place.take()
                answer = await self._ask(
                    request, deadline, bodiless=method == "HEAD", again=method in _REPEATABLE and body is None
                )
        except TimeoutError as problem:
            if not whole.expired():  # the kernel's own: it has given up the connection
                raise self._broken(problem) from problem
            if not place.taken:
                raise self._busy() from problem
            raise self._late(deadline, deadline.total or 0.0) from problem
        except OSError as problem:
            raise self._broken(problem) from problem
        finally:
            place.leave()
        self._tell(Observation.ANSWER, "")
        return answer

    async def _ask(self, request: bytes, deadline: Deadline, *, bodiless: bool, again: bool) -> Answer:
        """One request over a kept connection, or over a new one; on a new one once more if it `again` may be sent."""
        connection = self._pool.idle() or await self._dial(deadline)
        while True:
            try:
                return await connection.ask(request, bodiless=bodiless)
            except Untouched:
                if not again:
                    raise
                again = False
            except BaseException:
                connection.abort()
                raise
            finally:
                self._pool.give(connection)
            connection = await self._dial(deadline)

    async def _dial(self, deadline: Deadline) -> Wire:
        try:
            async with asyncio.timeout(deadline.connect) as bound:
                return await self._pool.dial()
        except TimeoutError as problem:
            if not bound.expired():
                raise
            raise self._late(deadline, deadline.connect) from problem

    def stream(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: Body = None,
        headers: Headers = (),
        deadline: Deadline = BULK,
        version: str | None = None,
        probe: bool = False,
    ) -> AbstractAsyncContextManager[Stream]:
        """A reply as it comes. A body may be an async iterator: it is sent with back-pressure.

        Under a deadline with a total, the bound holds for all that happens inside the `async with`.
        Raises as `call` does, also from within `chunks`.
        """
        return self._open(
            method, path, query=query, body=body, headers=headers, deadline=deadline, version=version, probe=probe
        )

    async def tunnel(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: bytes | None = None,
        headers: Iterable[tuple[str, str]] = (),
        deadline: Deadline = STREAM,
        version: str | None = None,
    ) -> Tunnel:
        """A connection of its own on which the request has been sent and the reply's head has come.

        `headers` are sent as they are, but for Content-Length, which follows `body` (None = none is sent). The caller
        ends the tunnel by `abort` or by taking it over.
        """
        self._admit(probe=False)
        lines = [f"{method} {self.target(path, query, version)} HTTP/1.1"]
        lines.extend(f"{key}: {value}" for key, value in headers)
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        request = "\r\n".join((*lines, "", "")).encode("latin-1") + (body or b"")
        tunnel = Tunnel(self._tunnels.discard)
        limit = deadline.connect
        try:
            async with asyncio.timeout(deadline.connect):
                await dial(self.address, lambda: tunnel, self._tls)
            self._tunnels.add(tunnel)
            limit = deadline.first or 0.0
            async with asyncio.timeout(deadline.first):
                await tunnel.send(request)
        except TimeoutError as problem:
            tunnel.abort()
            raise self._late(deadline, limit) from problem
        except OSError as problem:
            tunnel.abort()
            raise self._broken(problem) from problem
        except BaseException:
            tunnel.abort()
            raise
        self._tell(Observation.ANSWER, "")
        return tunnel

    def target(self, path: str, query: str = "", version: str | None = None) -> str:
        """What the request line carries: version, path, query."""
        if self.api:
            path = f"/v{common(version, self.minimum, self.api)}{path}"
        return f"{path}?{query}" if query else path

    @contextlib.asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        *,
        query: str,
        body: Body,
        headers: Headers,
        deadline: Deadline,
        version: str | None,
        probe: bool,
    ) -> AsyncIterator[Stream]:
        """The life of one request: admitted, given a place, sent, read, and closed whatever happens."""
        self._admit(probe=probe)
        deadline = deadline.for_query(query)
        url = URL(self.address.base + self.target(path, query, version), encoded=True)
        place = Place(self._places if deadline.limited and not probe else None)
        upload = None if body is None or isinstance(body, bytes) else Upload(body)
        content = body if body is None or isinstance(body, bytes) else upload
        stream: Stream | None = None
        try:
            async with asyncio.timeout(deadline.total) as whole:
                await place.take()
                if deadline.first is None or body is not None:
                    response = await self._send(method, url, content, headers)
                else:
                    async with asyncio.timeout(deadline.first):
                        response = await self._send(method, url, content, headers)

                def unbind() -> None:
                    whole.reschedule(None)
                    place.leave()

                stream = Stream(response, broken=self._broken, unbind=unbind)
                self._streams.add(stream)
                self._tell(Observation.ANSWER, "")
                yield stream
        except aiohttp.ClientError as problem:
            if stream is not None:
                raise
            if upload is not None and upload.problem is not None:
                raise upload.problem from None
            if isinstance(problem, aiohttp.ServerTimeoutError):
                raise self._late(deadline, deadline.connect) from problem
            raise self._broken(problem) from problem
        except TimeoutError as problem:
            if stream is not None and not whole.expired():
                raise
            if not place.taken:
                raise self._busy() from problem
            raise self._late(deadline, deadline.total or deadline.first or 0.0) from problem
        finally:
            place.leave()
            if stream is not None:
                self._streams.discard(stream)
                stream.close()

    async def _send(
        self, method: str, url: URL, body: bytes | Upload | None, headers: Headers
    ) -> aiohttp.ClientResponse:
        session = self._session or self._start()
        again = method in _REPEATABLE and body is None
        while True:
            try:
                return await session.request(method, url, data=body, headers=headers, allow_redirects=False)
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not again:
                    raise
                again = False

    def _start(self) -> aiohttp.ClientSession:
        session = self._session = aiohttp.ClientSession(
            connector=connector(self.address, self._tls),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_SKIPPED,
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT),
            read_bufsize=READ_BUFFER,
        )
        session._retry_connection = False  # it would repeat DELETE and PUT too
        return session

    def _admit(self, *, probe: bool) -> None:
        if self._tripped is not None and not probe:
            raise EngineUnreachable(self._words(), node=self.name, reason=self._tripped)

    def _words(self) -> str:
        return f"Cannot connect to the Docker daemon at {self.address.shown}. Is the docker daemon running?"

    def _tell(self, seen: Observation, why: str) -> None:
        if self.observer is not None:
            self.observer(seen, why)

    def _broken(self, problem: BaseException) -> EngineUnreachable:
        why = reason.of(problem)
        self._tell(Observation.REFUSED, why)
        return EngineUnreachable(self._words(), node=self.name, reason=why)

    def _late(self, deadline: Deadline, limit: float) -> EngineTimeout:
        why = f"no answer within {reason.seconds(limit)}"
        if deadline.telling or limit == deadline.connect:
            self._tell(Observation.TIMEOUT, why)
        return EngineTimeout(self._words(), node=self.name, reason=why)

    def _busy(self) -> EngineTimeout:
        return EngineTimeout(self._words(), node=self.name, reason=f"busy with {self._limit} other calls")
