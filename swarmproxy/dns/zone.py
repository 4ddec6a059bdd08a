"""What names mean, to whom: pure, derived from endpoints and networks alone.

A name belongs to a network; who asks sees the names of all networks its container is on, and the links of its own
endpoints besides. Records are prebuilt per network and lower-cased name, and spoilt per name: an endpoint that comes or
goes costs the answers of its own names only. Replicas of one name take turns at the head of the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from swarmproxy.dns import wire
from swarmproxy.model.records import Endpoint

__all__ = ["Asker", "Hosts", "Zone"]

T = TypeVar("T")

TTL = 2
"""Seconds. Containers move; a client that caches must not for long."""
_TASKS = "tasks."


@dataclass(slots=True)
class Hosts:
    """The address records of one name, ready to send."""

    four: tuple[bytes, ...] = ()
    six: tuple[bytes, ...] = ()
    _turn: int = 0

    def records(self, kind: int) -> tuple[bytes, ...]:
        """Those of one type, the next one first."""
        found = self.four if kind == wire.A else self.six if kind == wire.AAAA else ()
        if len(found) < 2:
            return found
        self._turn += 1
        start = self._turn % len(found)
        return found[start:] + found[:start]


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: the networks it is on, and its links, alias → (network, target's name), lower case."""

    networks: tuple[str, ...]
    links: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(slots=True)
class _Network:
    name: str = ""
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    by_name: dict[str, set[str]] = field(default_factory=dict)
    by_ip: dict[str, str] = field(default_factory=dict)
    ready: dict[str, Hosts] = field(default_factory=dict)
    """Prebuilt, without endpoints that are not ready or whose host is dead."""
    all: dict[str, Hosts] = field(default_factory=dict)
    """Prebuilt, with those that are not ready."""


class Zone:
    """Names of all networks. `node` is this node, whose own endpoints never count as dead."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._networks: dict[str, _Network] = {}
        self._owners: dict[str, set[tuple[str, str]]] = {}
        self._nodes: dict[str, set[tuple[str, str]]] = {}
        self._dead: set[str] = set()

    # ------------------------------------------------------------------------------------------- changes
    def network(self, nid: str, name: str) -> None:
        """A network's name; "" = it is gone (its endpoints go on their own)."""
        self._networks.setdefault(nid, _Network()).name = name.lower()

    def put(self, nid: str, endpoint_id: str, endpoint: Endpoint) -> None:
        self.remove(nid, endpoint_id)
        network = self._networks.setdefault(nid, _Network())
        network.endpoints[endpoint_id] = endpoint
        for name in _names(endpoint):
            network.by_name.setdefault(name, set()).add(endpoint_id)
            _spoil(network, name)
        for ip in (endpoint.ip, endpoint.ip6):
            if ip:
                network.by_ip[ip] = endpoint_id
        place = (nid, endpoint_id)
        for owner in _owners(endpoint):
            self._owners.setdefault(owner, set()).add(place)
        self._nodes.setdefault(endpoint.node, set()).add(place)

    def remove(self, nid: str, endpoint_id: str) -> None:
        network = self._networks.get(nid)
        endpoint = network.endpoints.pop(endpoint_id, None) if network is not None else None
        if network is None or endpoint is None:
            return
        for name in _names(endpoint):
            _take(network.by_name, name, endpoint_id)
            _spoil(network, name)
        for ip in (endpoint.ip, endpoint.ip6):
            if network.by_ip.get(ip) == endpoint_id:
                del network.by_ip[ip]
        for owner in _owners(endpoint):
            _take(self._owners, owner, (nid, endpoint_id))
        _take(self._nodes, endpoint.node, (nid, endpoint_id))

    def dead(self, node: str) -> None:
        """The names of this host's endpoints are left out until it is `alive` again."""
        if node != self._node and node not in self._dead:
            self._dead.add(node)
            self._spoil_node(node)

    def alive(self, node: str) -> None:
        if node in self._dead:
            self._dead.discard(node)
            self._spoil_node(node)

    @property
    def nodes(self) -> Iterable[str]:
        """The nodes that have endpoints."""
        return self._nodes.keys()

    def _spoil_node(self, node: str) -> None:
        for nid, endpoint_id in self._nodes.get(node, ()):
            network = self._networks[nid]
            for name in _names(network.endpoints[endpoint_id]):
                _spoil(network, name)

    # ------------------------------------------------------------------------------------------- questions
    def asker(self, nid: str, ip: str) -> Asker:
        """The container that asks from `ip` on network `nid`; an unknown one sees that network."""
        network = self._networks.get(nid)
        endpoint_id = network.by_ip.get(ip) if network is not None else None
        if network is None or endpoint_id is None:
            return Asker((nid,))
        places = {(nid, endpoint_id)}
        for owner in _owners(network.endpoints[endpoint_id]):
            places |= self._owners[owner]
        links = {}
        for place_nid, place_id in places:
            for alias, target in self._networks[place_nid].endpoints[place_id].links.items():
                links[alias.lower()] = (place_nid, target.lower())
        return Asker((nid, *sorted({other for other, _ in places if other != nid})), links)

    def find(self, asker: Asker, name: str) -> Hosts | None:
        """The hosts behind a lower-case name; None when the asker knows no such name."""
        if (link := asker.links.get(name)) is not None and (hosts := self._hosts(*link)) is not None:
            return hosts
        if (hosts := self._union(asker.networks, name)) is not None:
            return hosts
        if name.startswith(_TASKS):
            return self._union(asker.networks, name.removeprefix(_TASKS), gated=False)
        return None

    def _union(self, networks: Iterable[str], name: str, *, gated: bool = True) -> Hosts | None:
        found = []
        for nid in networks:
            network = self._networks.get(nid)
            if network is None:
                continue
            if (hosts := self._hosts(nid, name, gated=gated)) is not None:
                found.append(hosts)
            elif network.name and name.endswith("." + network.name):
                local = name.removesuffix("." + network.name)
                if (hosts := self._hosts(nid, local, gated=gated)) is not None:
                    found.append(hosts)
        if len(found) < 2:
            return found[0] if found else None
        return Hosts(
            sum((each.records(wire.A) for each in found), ()), sum((each.records(wire.AAAA) for each in found), ())
        )

    def _hosts(self, nid: str, name: str, *, gated: bool = True) -> Hosts | None:
        network = self._networks.get(nid)
        holders = network.by_name.get(name) if network is not None else None
        if network is None or not holders:
            return None
        built = network.ready if gated else network.all
        if name not in built:
            shown = [network.endpoints[each] for each in sorted(holders)]
            shown = [each for each in shown if each.node not in self._dead and (each.ready or not gated)]
            built[name] = Hosts(
                tuple(wire.address_record(each.ip, TTL) for each in shown if each.ip),
                tuple(wire.address_record(each.ip6, TTL) for each in shown if each.ip6),
            )
        hosts = built[name]
        return hosts if hosts.four or hosts.six else None

    def reverse(self, asker: Asker, ip: str) -> str | None:
        """`name.network` of an address on one of the asker's networks."""
        for nid in asker.networks:
            network = self._networks.get(nid)
            endpoint_id = network.by_ip.get(ip) if network is not None else None
            if network is not None and endpoint_id is not None and (names := network.endpoints[endpoint_id].names):
                return f"{names[0]}.{network.name or nid}"
        return None


def _names(endpoint: Endpoint) -> set[str]:
    return {name.lower() for name in (*endpoint.names, *endpoint.aliases) if name}


def _owners(endpoint: Endpoint) -> list[str]:
    """What endpoints of one container have in common: its token, its id, or both; one may be unknown yet."""
    return [f"{kind}{value}" for kind, value in (("t", endpoint.token), ("c", endpoint.container)) if value]


def _spoil(network: _Network, name: str) -> None:
    network.ready.pop(name, None)
    network.all.pop(name, None)


def _take(index: dict[str, set[T]], key: str, item: T) -> None:
    """Removes an item, and its set when that is empty."""
    held = index.get(key)
    if held is not None:
        held.discard(item)
        if not held:
            del index[key]
