"""The store's records, typed: a mirror of the cache that never waits and never raises on what others wrote.

A record that cannot be read is absent here but its key is in `unreadable`: whoever wants to create it must treat it
as taken. Each record is held with its revision, which is what a `ModIs` needs. Sums that every placement reads (CPU,
memory and ports of a node) are kept running. Listeners are told after the mirror has the change; the keys of one
transaction come one after another, so a listener must not expect the others of its transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from swarmproxy.discovery.cache import Cache
from swarmproxy.discovery.store import KV, Event
from swarmproxy.model import codec, keys
from swarmproxy.model.codec import Record
from swarmproxy.model.records import (
    Address,
    Agent,
    Alloc,
    Duty,
    Endpoint,
    ImageRef,
    Member,
    Name,
    Network,
    NetworkCopy,
    Port,
    Proxy,
    Suspect,
    Volume,
)

R = TypeVar("R", bound=Record)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held(Generic[R]):
    """A record at a revision. `raw` is for `codec.amend`, which keeps fields that this version does not know."""

    value: R
    revision: int
    lease: int
    raw: bytes
    key: str


@dataclass(frozen=True, slots=True)
class Changed:
    """One change. `path` is the key's parts behind the kind's prefix; `old` or `new` is None when there is none."""

    path: tuple[str, ...]
    old: Held[Any] | None
    new: Held[Any] | None


@dataclass(slots=True)
class Reserved:
    """What the claims of one node take: nano-CPUs, bytes, and (port, protocol, host address or "") → tokens."""

    cpu: int = 0
    memory: int = 0
    ports: dict[Port, list[str]] = field(default_factory=dict)
    claims: int = 0

    def count(self, token: str, alloc: Alloc, by: int) -> None:
        self.cpu += by * alloc.cpu
        self.memory += by * alloc.memory
        self.claims += by
        for port in alloc.ports:
            if by > 0:
                self.ports.setdefault(port, []).append(token)
            elif token in self.ports.get(port, ()):
                self.ports[port].remove(token)
                if not self.ports[port]:
                    del self.ports[port]


Nest = dict[str, dict[str, Held[R]]]


class Records:
    """See the module. Attributes are plain dicts to be read, never written, by others."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.members: dict[str, Held[Member]] = {}
        self.agents: dict[str, Held[Agent]] = {}
        self.proxies: dict[str, Held[Proxy]] = {}
        self.names: dict[str, Held[Name]] = {}
        self.allocs: Nest[Alloc] = {}
        """node → token → Alloc"""
        self.networks: dict[str, Held[Network]] = {}
        self.netnames: dict[str, str] = {}
        """network name → id of the network that holds it; two adopted networks may share a name, one holds the key"""
        self.copies: Nest[NetworkCopy] = {}
        """network id → node → NetworkCopy"""
        self.addresses: Nest[Address] = {}
        """network id → IP → Address"""
        self.endpoints: Nest[Endpoint] = {}
        """network id → endpoint id → Endpoint"""
        self.volumes: dict[str, Held[Volume]] = {}
        self.images: dict[str, Held[ImageRef]] = {}
        """familiar reference → ImageRef"""
        self.suspects: Nest[Suspect] = {}
        """node → proxy → Suspect"""
        self.duties: dict[str, Held[Duty]] = {}
        self.unreadable: set[str] = set()
        self._reserved: dict[str, Reserved] = {}
        self._by_container: dict[str, tuple[str, str]] = {}
        self._by_local: dict[tuple[str, str], str] = {}
        self._copies_on: dict[str, dict[str, str]] = {}
        self._listeners: dict[str, list[Callable[[Changed], None]]] = {}
        self._kinds: dict[str, tuple[str, type[Record], dict[str, Any], int]] = {
            prefix.rstrip("/"): (prefix, kind, into, depth)
            for prefix, kind, into, depth in (
                (keys.NODES, Member, self.members, 1),
                (keys.AGENTS, Agent, self.agents, 1),
                (keys.PROXIES, Proxy, self.proxies, 1),
                (keys.NAMES, Name, self.names, 1),
                (keys.ALLOC, Alloc, self.allocs, 2),
                (keys.NETWORKS, Network, self.networks, 1),
                (keys.NETNODES, NetworkCopy, self.copies, 2),
                (keys.IPAM, Address, self.addresses, 2),
                (keys.ENDPOINTS, Endpoint, self.endpoints, 2),
                (keys.VOLUMES, Volume, self.volumes, 1),
                (keys.IMAGES, ImageRef, self.images, 1),
                (keys.SUSPECTS, Suspect, self.suspects, 2),
                (keys.DUTIES, Duty, self.duties, 1),
            )
        }
        self._unlisten = cache.listen("", self._on_event)
        for kv in cache.under(""):
            self._change(kv.key, kv)

    def close(self) -> None:
        self._unlisten()

    @property
    def revision(self) -> int:
        return self.cache.revision

    def listen(self, prefix: str, listener: Callable[[Changed], None]) -> Callable[[], None]:
        """Calls for every later change of one kind, named by its prefix in `model.keys`; returns its remover."""
        kind = prefix.rstrip("/")
        assert kind in self._kinds, prefix
        listeners = self._listeners.setdefault(kind, [])
        listeners.append(listener)
        return lambda: listeners.remove(listener) if listener in listeners else None

    # -- lookups -----------------------------------------------------------------------------------------------------
    def reserved(self, node: str) -> Reserved:
        """What is claimed on a node; not to be changed."""
        return self._reserved.get(node) or Reserved()

    def alloc_of(self, container: str) -> tuple[str, str, Held[Alloc]] | None:
        """(node, token, alloc) of a container id."""
        place = self._by_container.get(container)
        if place is None:
            return None
        held = self.allocs.get(place[0], {}).get(place[1])
        return (*place, held) if held is not None else None

    def claim(self, name: str) -> tuple[str, str, str] | None:
        """(node, token, container id or "" while pending) of who has claimed a container name."""
        held = self.names.get(name)
        if held is None:
            return None
        alloc = self.allocs.get(held.value.node, {}).get(held.value.token)
        return held.value.node, held.value.token, alloc.value.container if alloc is not None else ""

    def network_of(self, node: str, local: str) -> str | None:
        """The cluster id of an engine's own network id."""
        return self._by_local.get((node, local))

    def copies_on(self, node: str) -> dict[str, str]:
        """Cluster network id → the engine's id for it, "" while it is being made."""
        return self._copies_on.get(node, {})

    # -- following ---------------------------------------------------------------------------------------------------
    def _on_event(self, event: Event) -> None:
        self._change(event.kv.key, event.kv if event.kind == "put" else None)

    def _change(self, key: str, kv: KV | None) -> None:
        kind, *rest = keys.parts(key)
        if kind == "netnames" and len(rest) == 1:
            self._name_network(rest[0], kv)
            return
        row = self._kinds.get(kind)
        if row is None or len(rest) != row[3] or not all(rest):
            return
        path = tuple(rest)
        new = self._read(key, kv, row[1])
        old = _store(row[2], path, new)
        if old is None and new is None:
            return
        changed = Changed(path, old, new)
        self._derive(kind, changed)
        for listener in tuple(self._listeners.get(kind, ())):
            try:
                listener(changed)
            except Exception:
                logger.exception("a listener failed on the change of %s", key)

    def _name_network(self, name: str, kv: KV | None) -> None:
        if kv is None:
            self.netnames.pop(name, None)
        else:
            self.netnames[name] = kv.value.decode(errors="replace")

    def _read(self, key: str, kv: KV | None, kind: type[Record]) -> Held[Any] | None:
        self.unreadable.discard(key)
        if kv is None:
            return None
        value = codec.decode(kind, kv.value)
        if value is None:
            logger.warning("the record at %s cannot be read and counts as taken", key)
            self.unreadable.add(key)
            return None
        return Held(value, kv.mod_revision, kv.lease, kv.value, key)

    def _derive(self, kind: str, changed: Changed) -> None:
        match kind:
            case "alloc":
                self._count_alloc(changed)
            case "netnodes":
                self._map_copy(changed)

    def _count_alloc(self, changed: Changed) -> None:
        node, token = changed.path
        reserved = self._reserved.setdefault(node, Reserved())
        if changed.old is not None:
            reserved.count(token, changed.old.value, -1)
            if self._by_container.get(changed.old.value.container) == (node, token):
                del self._by_container[changed.old.value.container]
        if changed.new is not None:
            reserved.count(token, changed.new.value, 1)
            if changed.new.value.container:
                self._by_container[changed.new.value.container] = (node, token)
        if not reserved.claims:
            del self._reserved[node]

    def _map_copy(self, changed: Changed) -> None:
        network, node = changed.path
        copies = self._copies_on.setdefault(node, {})
        if changed.old is not None:
            copies.pop(network, None)
            if self._by_local.get((node, changed.old.value.id)) == network:
                del self._by_local[node, changed.old.value.id]
        if changed.new is not None:
            copies[network] = changed.new.value.id
            if changed.new.value.id:
                self._by_local[node, changed.new.value.id] = network
        if not copies:
            del self._copies_on[node]


def _store(into: dict[str, Any], path: tuple[str, ...], new: Held[Any] | None) -> Held[Any] | None:
    """Puts or removes; what was there. Empty inner dicts go."""
    if len(path) == 2:
        inner = into.setdefault(path[0], {})
        old = _store(inner, path[1:], new)
        if not inner:
            del into[path[0]]
        return old
    before: Held[Any] | None = into.pop(path[0], None)
    if new is not None:
        into[path[0]] = new
    return before
