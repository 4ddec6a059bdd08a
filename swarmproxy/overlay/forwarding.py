"""Which forwarding entries an overlay needs on this node: pure.

Every remote endpoint is one FDB entry (MAC → VTEP of its node) and one neighbour entry per address (IP → MAC). Both
follow the newest record that holds the MAC or the address: an address given to another container is taken over by a
later record, and the late deletion of the former one must not touch the entry. Local endpoints have none here, the
bridge knows them.
Cost: O(1) a change. Not here: the kernel (vxlan) and where records come from (peers).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from swarmproxy.model.records import Endpoint

__all__ = ["Change", "Forwarding", "Neighbour", "Route"]


@dataclass(frozen=True, slots=True)
class Route:
    """FDB: frames for `mac` go to `vtep`; "" = take the entry away."""

    mac: str
    vtep: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """`ip` is at `mac`; "" = take the entry away."""

    ip: str
    mac: str


Change = Route | Neighbour


@dataclass(slots=True)
class _Held:
    endpoint: Endpoint
    revision: int


@dataclass(slots=True)
class Forwarding:
    """The entries of one overlay, as its records and the members' VTEPs say. `node` is this node."""

    node: str
    vteps: dict[str, str] = field(default_factory=dict)
    _records: dict[str, _Held] = field(default_factory=dict)
    _by_ip: dict[str, set[str]] = field(default_factory=dict)
    _by_mac: dict[str, set[str]] = field(default_factory=dict)
    _by_node: dict[str, set[str]] = field(default_factory=dict)
    routes: dict[str, str] = field(default_factory=dict)
    """mac → vtep: what should be in the FDB now."""
    neighbours: dict[str, str] = field(default_factory=dict)
    """ip → mac: what should be in the neighbour table now."""

    def put(self, endpoint_id: str, endpoint: Endpoint, revision: int) -> list[Change]:
        """A record appeared or changed."""
        old = self._unlink(endpoint_id)
        self._records[endpoint_id] = _Held(endpoint, revision)
        for index, key in self._places(endpoint):
            index.setdefault(key, set()).add(endpoint_id)
        return self._settle([endpoint, *old])

    def remove(self, endpoint_id: str) -> list[Change]:
        """A record is gone."""
        return self._settle(self._unlink(endpoint_id))

    def move(self, node: str, vtep: str) -> list[Change]:
        """A member has another VTEP, or none ("")."""
        if self.vteps.get(node, "") == vtep:
            return []
        if vtep:
            self.vteps[node] = vtep
        else:
            self.vteps.pop(node, None)
        return self._settle([self._records[each].endpoint for each in self._by_node.get(node, ())])

    def _places(self, endpoint: Endpoint) -> list[tuple[dict[str, set[str]], str]]:
        places = [(self._by_ip, ip) for ip in (endpoint.ip, endpoint.ip6) if ip]
        return [*places, (self._by_mac, endpoint.mac), (self._by_node, endpoint.node)]

    def _unlink(self, endpoint_id: str) -> list[Endpoint]:
        held = self._records.pop(endpoint_id, None)
        if held is None:
            return []
        for index, key in self._places(held.endpoint):
            index[key].discard(endpoint_id)
            if not index[key]:
                del index[key]
        return [held.endpoint]

    def _newest(self, holders: set[str] | None) -> Endpoint | None:
        if not holders:
            return None
        return max((self._records[each] for each in holders), key=lambda held: held.revision).endpoint

    def _settle(self, touched: list[Endpoint]) -> list[Change]:
        changes: list[Change] = []
        for mac in dict.fromkeys(endpoint.mac for endpoint in touched if endpoint.mac):
            owner = self._newest(self._by_mac.get(mac))
            vtep = self.vteps.get(owner.node, "") if owner is not None and owner.node != self.node else ""
            if vtep != self.routes.get(mac, ""):
                changes.append(Route(mac, vtep))
                _set(self.routes, mac, vtep)
        for ip in dict.fromkeys(ip for endpoint in touched for ip in (endpoint.ip, endpoint.ip6) if ip):
            owner = self._newest(self._by_ip.get(ip))
            remote = owner is not None and owner.node != self.node and owner.node in self.vteps
            mac = owner.mac if owner is not None and remote else ""
            if mac != self.neighbours.get(ip, ""):
                changes.append(Neighbour(ip, mac))
                _set(self.neighbours, ip, mac)
        return changes


def _set(table: dict[str, str], key: str, value: str) -> None:
    if value:
        table[key] = value
    else:
        table.pop(key, None)
