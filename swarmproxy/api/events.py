"""The event stream of the cluster: history and live events of all engines, filtered here, one object a line."""

from __future__ import annotations

import asyncio

from aiohttp import web

from swarmproxy.api import filters
from swarmproxy.api.call import Call
from swarmproxy.cluster import eventfilter
from swarmproxy.lifecycle.context import Cluster

KNOWN = frozenset(
    "type event container image network volume label scope daemon plugin node service secret config".split()
)


async def events(call: Call[Cluster]) -> web.StreamResponse:
    """The head goes at once; unknown filter keys are ignored, here alone, as engines do."""
    hub = call.cluster.view.events
    since, until = eventfilter.window(call.query.get("since"), call.query.get("until"))
    asked = filters.parse(call.query.get("filters"), _Anything())
    wanted = eventfilter.compile_filter({key: values for key, values in asked.items() if key in KNOWN})
    reply = web.StreamResponse(headers={"Content-Type": "application/json", **call.headers})
    reply.enable_chunked_encoding()
    await reply.prepare(call.request)
    subscription = hub.subscribe(wanted, since=since, until=until)
    try:
        async for chunk in subscription:
            await reply.write(chunk)
        await reply.write_eof()
    except (ConnectionError, asyncio.CancelledError):
        subscription.close()
        raise
    finally:
        subscription.close()
    return reply


class _Anything(frozenset[str]):
    def __contains__(self, key: object) -> bool:
        return True
