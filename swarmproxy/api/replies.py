"""Replies that the proxy writes itself: JSON, errors, and the headers that an engine sends with everything.

Every handled route carries Api-Version, Docker-Experimental, Ostype and Server; an unknown route only its type. JSON
ends in a newline, errors are {"message": …}. A page of a list stays the bytes it is: `json_pages` joins nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web

from swarmproxy import __version__
from swarmproxy.api.call import C, Call
from swarmproxy.discovery.store import StoreError
from swarmproxy.model.errors import DockerError, ServerError, StoreLost

log = logging.getLogger(__name__)

JSON = "application/json"
STORE_LOST = "the cluster's store does not answer"
_YIELD_BYTES = 1 << 20
"""A long list gives the loop back to others after so many bytes."""


def identity(advertised: str) -> dict[str, str]:
    """Headers of every handled route."""
    return {
        "Api-Version": advertised,
        "Docker-Experimental": "false",
        "Ostype": "linux",
        "Server": f"Docker/swarmproxy-{__version__} (linux)",
    }


def json(call: Call[C], value: object, *, status: int = 200) -> web.Response:
    """A reply of `value`: bytes are JSON already, anything else is encoded."""
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    if not body.endswith(b"\n"):
        body += b"\n"
    return web.Response(status=status, body=body, headers={"Content-Type": JSON, **call.headers})


def empty(call: Call[C], status: int = 204) -> web.Response:
    return web.Response(status=status, headers=call.headers)


async def json_pages(call: Call[C], pages: Sequence[bytes], *, status: int = 200) -> web.StreamResponse:
    """Writes a JSON text made of `pages` in order, with its length known and other requests let in between."""
    reply = web.StreamResponse(status=status, headers={"Content-Type": JSON, **call.headers})
    reply.content_length = sum(map(len, pages))
    await reply.prepare(call.request)
    if call.method != "HEAD":
        since = 0
        for page in pages:
            await reply.write(page)
            since += len(page)
            if since >= _YIELD_BYTES:
                since = 0
                await asyncio.sleep(0)
    await reply.write_eof()
    return reply


def error_body(message: str) -> bytes:
    return msgspec.json.encode({"message": message}) + b"\n"


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error as clients read it."""
    return web.Response(status=status, body=error_body(message), headers={"Content-Type": JSON, **(headers or {})})


def not_found() -> web.Response:
    """The reply to an unknown route, a wrong method or a stray slash: never 405."""
    return error(404, "page not found")


def failure(problem: Exception, headers: Mapping[str, str]) -> web.Response:
    """The reply to whatever a handler raised; what is not ours is logged with its traceback and told without it."""
    if isinstance(problem, StoreError):
        problem = StoreLost(STORE_LOST, reason=str(problem))
    elif not isinstance(problem, DockerError):
        log.error("unexpected failure", exc_info=problem)
        problem = ServerError("internal error of the proxy", reason=type(problem).__name__)
    return error(problem.status, problem.message, headers)
