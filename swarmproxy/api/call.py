"""One request on its way through the API: what the row's handler gets.

Everything that costs is done when asked: the query is parsed at its first use, the body read by `json_body` alone.
`C` is the type of the application's context; nothing here looks into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from aiohttp import web

from swarmproxy.api.body import read_json
from swarmproxy.api.query import Query

if TYPE_CHECKING:
    from swarmproxy.api.route import Route
    from swarmproxy.engine.client import Engine

C = TypeVar("C")

JSON_LIMIT = 4 << 20
"""Bytes; the largest JSON body seen from a client is 3 kB, a create with many mounts stays under 100 kB."""


class Call(Generic[C]):
    """A matched request.

    Attributes:
        request: aiohttp's own; `request.content` streams the body.
        route: the row that matched.
        params: names of the path, decoded: {"container": "node-1/web"}.
        version: API version as the client wrote it in the path, the advertised one when it wrote none: "1.41".
        path: raw path without version, as sent: "/containers/web/json".
        query: parsed lazily; `query.raw` is the text.
        cluster: the application's context.
        headers: what every reply carries (Api-Version, Server …); ready to be given to a response.
        owner: engine and full object id, once a resolver has named them.
        status: of the engine's reply once its head is there, else 0.
    """

    __slots__ = (
        "cluster",
        "end",
        "headers",
        "owner",
        "params",
        "path",
        "query",
        "request",
        "route",
        "start",
        "status",
        "version",
    )

    def __init__(
        self,
        *,
        request: web.BaseRequest,
        route: Route[C],
        params: Mapping[str, str],
        version: str,
        path: str,
        query: str,
        cluster: C,
        headers: Mapping[str, str],
        span: tuple[int, int] = (0, 0),
    ) -> None:
        self.request = request
        self.route = route
        self.params = params
        self.version = version
        self.path = path
        self.query = Query(query)
        self.cluster = cluster
        self.headers = headers
        self.owner: tuple[Engine, str] | None = None
        self.status = 0
        self.start, self.end = span

    @property
    def method(self) -> str:
        return self.request.method

    async def json_body(self, limit: int = JSON_LIMIT, *, optional: bool = False) -> bytes:
        """The body, syntactically checked JSON of at most `limit` bytes.

        With `optional`, no body at all reads as b"{}".

        Raises:
            BadRequest: wrong content type, empty, not JSON, too long; in the newer engine's words.
        """
        return await read_json(self.request, limit, optional=optional)

    def path_with(self, name: str) -> str:
        """The raw path with its first name replaced by `name` (already safe in a path); the rest untouched."""
        if not self.end:
            return self.path
        segments = self.path.split("/")
        return "/".join((*segments[: self.start + 1], name, *segments[self.end + 1 :]))
