"""What must go, so that this node holds what its engine has and nothing else: pure.

The engine is the truth about its endpoints, the store about networks; both must have been listed, or nothing here is
run. Whatever is younger than the grace stays: an address is asked for before its endpoint exists, a record is written
before the engine lists it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from swarmproxy.model.records import Address, Endpoint
from swarmproxy.overlay.state import LocalEndpoint, LocalNetwork

__all__ = ["GRACE", "Found", "Plan", "plan"]

GRACE = 15.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that one look saw. Times in Unix seconds."""

    now: float
    live: frozenset[str]
    """Endpoint ids that the engine has, with a container."""
    engine_networks: frozenset[str]
    """The engine's ids of its networks of our driver."""
    cluster_networks: frozenset[str]
    """NIDs in the store."""
    networks: Mapping[str, LocalNetwork]
    endpoints: Mapping[str, LocalEndpoint]
    addresses: Mapping[tuple[str, str], Address]
    """This node's, by (nid, ip)."""
    records: Mapping[tuple[str, str], Endpoint]
    """This node's, by (nid, endpoint id)."""
    busy: frozenset[str]
    """The engine's ids of networks that have an endpoint, of whatever age."""


@dataclass(slots=True)
class Plan:
    """In the order in which it is to be done."""

    endpoints: list[str] = field(default_factory=list)
    """Local endpoints that the engine does not know: veth, record and line."""
    records: list[tuple[str, str]] = field(default_factory=list)
    """Records of this node behind which there is no local endpoint."""
    addresses: list[tuple[str, str]] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    """The engine's networks whose cluster network is gone: to be deleted on the engine."""
    forget: list[str] = field(default_factory=list)
    """Networks that the engine does not have any more."""
    later: bool = False
    """Something would go, but is too young: look again after the grace."""


def plan(found: Found, *, grace: float = GRACE) -> Plan:
    """What is to go; nothing of it is younger than `grace` seconds."""
    result = Plan()
    old = found.now - grace
    kept: dict[str, LocalEndpoint] = {}
    for endpoint_id, local in found.endpoints.items():
        if endpoint_id in found.live or local.since > old:
            kept[endpoint_id] = local
            result.later |= endpoint_id not in found.live
        else:
            result.endpoints.append(endpoint_id)
    held = {(local.nid, ip) for local in kept.values() for ip in local.addresses}
    gone = set(result.endpoints)
    young = {(nid, ip) for (nid, ip), address in found.addresses.items() if address.since > old}
    for (nid, endpoint_id), record in found.records.items():
        if endpoint_id not in kept and endpoint_id not in gone and not _fresh(nid, record, young):
            result.records.append((nid, endpoint_id))
    result.addresses = [place for place in found.addresses if place not in held and place not in young]
    result.later |= any(place not in held for place in young)
    in_use = {local.network for local in kept.values()} | found.busy
    for network_id, network in found.networks.items():
        if network_id not in found.engine_networks:
            if network.since > old:
                result.later = True  # the engine lists it only when we have made it
            elif network_id not in in_use:
                result.forget.append(network_id)
        elif network.nid not in found.cluster_networks and network_id not in in_use:
            result.remove.append(network_id)
    return result


def _fresh(nid: str, record: Endpoint, young: Iterable[tuple[str, str]]) -> bool:
    """The endpoint's address was written a moment ago, in the same transaction."""
    return (nid, record.ip) in young
