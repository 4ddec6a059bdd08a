"""The only place that opens connections to engines: pooled ones for requests, single ones for tunnels.

Kept-alive connections are given up after 20 s, long before an engine would (it has no idle limit of its own). The name
of a host is looked up anew every 10 s.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar

import aiohttp

from swarmproxy.engine.address import Address
from swarmproxy.engine.sockets import keep_alive

P = TypeVar("P", bound=asyncio.Protocol)

IDLE = 20.0
DNS_TTL = 10


def connector(address: Address, tls: ssl.SSLContext | None = None) -> aiohttp.BaseConnector:
    """A pool for one engine, without a limit of its own; needs a running loop."""
    if address.scheme == "unix":
        return aiohttp.UnixConnector(address.path, limit=0, keepalive_timeout=IDLE)
    return aiohttp.TCPConnector(
        limit=0,
        keepalive_timeout=IDLE,
        ttl_dns_cache=DNS_TTL,
        ssl=tls if tls is not None else True,
    )


async def dial(
    address: Address, factory: Callable[[], P], tls: ssl.SSLContext | None = None
) -> tuple[asyncio.Transport, P]:
    """One connection of its own, with keepalive probes. Raises OSError; the caller sets the deadline."""
    loop = asyncio.get_running_loop()
    if address.scheme == "unix":
        transport, protocol = await loop.create_unix_connection(factory, address.path)
        return transport, protocol
    secure = (tls or True) if address.scheme == "https" else None
    transport, protocol = await loop.create_connection(factory, address.host, address.port, ssl=secure)
    keep_alive(transport)
    return transport, protocol
