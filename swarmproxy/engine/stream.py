"""A reply of an engine while it comes, and a request's body while it goes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import aiohttp


class Stream:
    """Status and headers at once, the body as it arrives.

    Reading slowly slows the engine: at most 256 kB wait here. Whoever opened the stream closes it. Reads raise
    EngineUnreachable when the connection breaks before the body's end.
    """

    __slots__ = ("_broken", "_response", "_unbind", "headers", "reason", "status")

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        *,
        broken: Callable[[BaseException], Exception],
        unbind: Callable[[], object],
    ) -> None:
        self._response = response
        self._broken = broken
        self._unbind = unbind
        self.status = response.status
        self.reason = response.reason or ""
        self.headers: Mapping[str, str] = response.headers

    @property
    def length(self) -> int | None:
        """Content-Length in bytes, None when the reply has none."""
        length = self.headers.get("Content-Length")
        return int(length) if length is not None and length.isdecimal() else None

    @property
    def ended(self) -> bool:
        """Whether the whole body has been read, or there is none."""
        return self._response.content.at_eof()

    async def read(self) -> bytes:
        """The rest of the body."""
        try:
            return await self._response.content.read()
        except (aiohttp.ClientError, ConnectionError) as problem:
            raise self._broken(problem) from problem

    async def chunk(self) -> bytes:
        """What has arrived, waiting for at least a byte; b"" at the end."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, ConnectionError) as problem:
            raise self._broken(problem) from problem

    async def chunks(self) -> AsyncIterator[bytes]:
        while data := await self.chunk():
            yield data

    def unbind(self) -> None:
        """From here on no deadline holds and no place is taken: the rest is up to whoever reads."""
        self._unbind()

    def close(self) -> None:
        """Gives the connection back, or breaks it when the body has not been read to its end."""
        self._response.release()

    def abort(self) -> None:
        """Breaks the connection; a reader gets EngineUnreachable."""
        self._response.close()


class Upload:
    """A body on its way to an engine. Remembers that its source failed, so that the engine is not blamed."""

    __slots__ = ("_source", "problem")

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self.problem: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._source:
                yield part
        except Exception as problem:
            self.problem = problem
            raise
