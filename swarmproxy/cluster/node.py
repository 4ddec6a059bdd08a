"""One member as the cluster sees it: its record, its engine, how it does, and what it holds.

A Node is plain state; `monitor` keeps it true. Everything here can be rebuilt from the engine and the store. A node
whose engine is away keeps its entries: a dead dockerd is not dead containers.

Network ids: `local_of` and `cluster_of` translate between an engine's own ids and the cluster's; `swap_out` and
`swap_in` do the same inside bytes, in one pass, because both kinds are 64 hex digits.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from swarmproxy.cluster.health import Health, State
from swarmproxy.cluster.swap import swap
from swarmproxy.model.options import PREDEFINED
from swarmproxy.model.records import Member

if TYPE_CHECKING:
    from swarmproxy.cluster.entry import Entry
    from swarmproxy.engine.client import Engine

FORMER_IDS = 1024
"""How many dropped network copies are still recognised in late events."""


class Node:
    """State of one member.

    Attributes:
        id: the member's durable id.
        name: unique in this view; member's name, else the engine's, else the address.
        engine: the client; replaced when the address changes.
        health: what probes and calls have shown; `reason` is for people.
        info, version: the engine's /info and /version, {} until it first answered.
        clock_offset: engine's clock minus ours, seconds.
        ready: the first list is in.
        agent_alive: its agent's lease lives.
        agent_lost: monotonic seconds of the end of that lease, as far as it was seen.
        warning: a fault of the membership that people should see, such as an engine id that two members share.
        containers: id → Entry; images: id → list item; volumes: name → item; networks: local id → item.
    """

    __slots__ = (
        "agent_alive",
        "agent_lost",
        "clock_offset",
        "cluster_of",
        "containers",
        "engine",
        "former",
        "health",
        "id",
        "ids_in",
        "ids_out",
        "images",
        "info",
        "local_of",
        "member",
        "name",
        "networks",
        "ready",
        "updated",
        "version",
        "volumes",
        "warning",
    )

    def __init__(self, member: Member, engine: Engine, *, name: str = "", now: float = 0.0) -> None:
        self.id = member.id
        self.member = member
        self.name = name or member.name or member.id
        self.engine = engine
        self.health = Health(since=now)
        self.info: dict[str, Any] = {}
        self.version: dict[str, Any] = {}
        self.clock_offset = 0.0
        self.ready = False
        self.updated = 0.0
        """Unix seconds of the last complete list."""
        self.agent_alive = False
        self.agent_lost = -math.inf
        self.warning = ""
        self.containers: dict[str, Entry] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.networks: dict[str, dict[str, Any]] = {}
        self.local_of: dict[str, str] = {}
        self.cluster_of: dict[str, str] = {}
        self.ids_out: dict[bytes, bytes] = {}
        """local → cluster, as bytes: what `swap_out` applies."""
        self.ids_in: dict[bytes, bytes] = {}
        self.former: OrderedDict[str, str] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.health.state}>"

    @property
    def healthy(self) -> bool:
        """Worth sending a call to: it answers, or has only just begun not to."""
        return self.health.state in (State.HEALTHY, State.SUSPECT)

    @property
    def answering(self) -> bool:
        """Not given up: what its containers' Status says can still be asked."""
        return self.health.state is not State.UNHEALTHY

    @property
    def ip(self) -> str:
        """Where published ports are reached: the underlay address if known, else the member address's host."""
        return self.member.vtep or address_host(self.member.address)

    @property
    def address(self) -> str:
        """The member's address as people know it: host:port, or the socket's path."""
        parts = urlsplit(self.member.address)
        return parts.netloc or parts.path or self.member.address

    @property
    def cpus(self) -> int:
        return int(self.info.get("NCPU") or 0)

    @property
    def memory(self) -> int:
        """Bytes."""
        return int(self.info.get("MemTotal") or 0)

    @property
    def labels(self) -> dict[str, str]:
        """The engine's labels under the member's own."""
        engine = (str(label).partition("=") for label in self.info.get("Labels") or ())
        return {key: value for key, _, value in engine} | self.member.labels

    def swap_out(self, data: bytes) -> bytes:
        """An engine's bytes with cluster network ids."""
        return swap(data, self.ids_out)

    def swap_in(self, data: bytes) -> bytes:
        """A client's bytes with this engine's network ids."""
        return swap(data, self.ids_in)

    def map_networks(self, copies: Mapping[str, str]) -> frozenset[str]:
        """Renew the translation.

        Args:
            copies: cluster id → local id, from the store.

        Returns:
            The ids, of both kinds, whose meaning changed.
        """
        wanted = {cluster: local for cluster, local in copies.items() if local}
        for local, network in self.networks.items():
            fixed = PREDEFINED.get(str(network.get("Name")))
            if fixed is not None:
                wanted[fixed] = local
        if wanted == self.local_of:
            return frozenset()
        changed = set(wanted.items()) ^ set(self.local_of.items())
        for cluster, local in self.local_of.items():
            if wanted.get(cluster) != local:
                self.former[local] = cluster
        while len(self.former) > FORMER_IDS:
            self.former.popitem(last=False)
        self.local_of = wanted
        self.cluster_of = {local: cluster for cluster, local in wanted.items()}
        self.ids_in = {cluster.encode(): local.encode() for cluster, local in wanted.items() if cluster != local}
        self.ids_out = {local: cluster for cluster, local in self.ids_in.items()}
        return frozenset(one for pair in changed for one in pair)


def address_host(address: str) -> str:
    """The host of a member address; "127.0.0.1" for a socket on this machine."""
    if "://" not in address:
        address = "//" + address
    return urlsplit(address).hostname or "127.0.0.1"
