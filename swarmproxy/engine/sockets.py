"""Socket options of connections that live long and may be silent: no delay, and probes that find a dead peer."""

from __future__ import annotations

import asyncio
import socket

IDLE_SECONDS = 30
INTERVAL_SECONDS = 10
PROBES = 3


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """A peer that is gone without a word is noticed after a minute. Does nothing on unix sockets."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, INTERVAL_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
    except OSError:
        pass  # the peer is gone already; the transport tells
