"""DNS of one node: the zone kept from the store, a listener a network, one on the host's loopback.

The host's own listener exists because a container that is later connected to an overlay has our address as its server
from the start: until the route of the overlay leads elsewhere it reaches the host's, which only passes questions on.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable

from swarmproxy.discovery.store import Event
from swarmproxy.dns.forward import Forwarder, resolvers
from swarmproxy.dns.liveness import Liveness
from swarmproxy.dns.server import Answerer, Listener
from swarmproxy.dns.zone import Zone
from swarmproxy.model import keys
from swarmproxy.model.codec import decode
from swarmproxy.model.options import DNS_ADDRESS
from swarmproxy.model.records import Endpoint, Network

__all__ = ["NameService"]

log = logging.getLogger(__name__)

Listen = Callable[[tuple[str, int], socket.SocketKind], Awaitable[socket.socket]]
Follow = Callable[[str, Callable[[Event], None]], Callable[[], None]]
_TICK = 1.0


class NameService:
    """`follow(prefix, fn)` tells of what the store holds and of every change; `lost()` says that it cannot be read now.

    `ready` is set once the store has been listed: before that nothing is known not to exist.
    """

    def __init__(self, *, node: str, follow: Follow, lost: Callable[[], bool]) -> None:
        self._zone = Zone(node)
        self._forwarder = Forwarder(resolvers(DNS_ADDRESS))
        self._liveness = Liveness()
        self._alive: set[str] = set()
        self._lost = lost
        self._listeners: dict[str, Listener] = {}
        self.ready = False
        self._stops = [
            follow(keys.NETWORKS, self._network),
            follow(keys.AGENTS, self._agent),
            follow(keys.ENDPOINTS, self._endpoint),
        ]

    # ------------------------------------------------------------------------------------------- store
    def _network(self, event: Event) -> None:
        record = decode(Network, event.kv.value) if event.kind == "put" else None
        self._zone.network(keys.parts(event.kv.key)[1], record.name if record is not None else "")

    def _endpoint(self, event: Event) -> None:
        _, nid, endpoint_id = keys.parts(event.kv.key)
        record = decode(Endpoint, event.kv.value) if event.kind == "put" else None
        if record is None:
            self._zone.remove(nid, endpoint_id)
        else:
            self._zone.put(nid, endpoint_id, record)

    def _agent(self, event: Event) -> None:
        node = keys.parts(event.kv.key)[1]
        if event.kind == "delete":
            self._alive.discard(node)
            self._liveness.absent(node, time.monotonic())
            return
        self._alive.add(node)
        if self._liveness.present(node):
            self._zone.alive(node)
            log.info("node %s is back: its names are given again", node)

    async def run(self) -> None:
        """Leaves out the names of dead hosts. Ends by cancellation."""
        was_lost = False
        while True:
            await asyncio.sleep(_TICK)
            lost, now = self._lost() or not self.ready, time.monotonic()
            if not lost:
                if was_lost:
                    self._liveness.forgive(now)
                self._judge(now)
            was_lost = lost

    def _judge(self, now: float) -> None:
        for node in self._zone.nodes:
            if node not in self._alive:
                self._liveness.absent(node, now)
        for node in self._liveness.due(now):
            self._zone.dead(node)
            log.warning("node %s has no agent any more: its names are left out", node)

    # ------------------------------------------------------------------------------------------- sockets
    async def open_network(self, nid: str, listen: Listen) -> None:
        """Serves a network on sockets that `listen` binds inside it; a failure is logged, traffic does not need us."""
        await self._open(nid, listen)

    async def open_host(self, listen: Listen) -> None:
        """Serves the host's own loopback: passes questions on, and knows no cluster name."""
        await self._open("", listen)

    async def _open(self, nid: str, listen: Listen) -> None:
        listener = Listener(Answerer(nid, self._zone, self._forwarder, lambda: self.ready))
        where = f"overlay {nid[:12]}" if nid else "the host"
        try:
            address = (DNS_ADDRESS, 53)
            await listener.open(await listen(address, socket.SOCK_DGRAM), await listen(address, socket.SOCK_STREAM))
        except OSError as error:
            log.error("no DNS on %s: %s", where, error)
            return
        self.close_network(nid)
        self._listeners[nid] = listener

    def close_network(self, nid: str) -> None:
        if listener := self._listeners.pop(nid, None):
            listener.close()

    def close(self) -> None:
        for stop in self._stops:
            stop()
        for nid in list(self._listeners):
            self.close_network(nid)
