"""Networks: one that spans hosts needs an agent, one that lives on one node keeps its containers there."""

from __future__ import annotations

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.reason import Reason
from swarmproxy.scheduler.request import Request

NO_AGENT = "no agent runs there, so it cannot join networks that span hosts"
ELSEWHERE = "network {network} is on {home}"
NOWHERE = "network {network} is on no node"
UNAVAILABLE = "network {network} cannot be made there: {why}"


def check(request: Request, node: NodeSnapshot) -> Reason | None:
    if request.needs_overlay and not node.agent:
        return Reason(NO_AGENT)
    for bond in request.network_homes:
        if not bond.node:
            return Reason(NOWHERE, network=bond.target)
        if bond.node != node.id:
            return Reason(ELSEWHERE, network=bond.target, home=bond.node_name or bond.node)
    for network in request.networks:
        if network in node.networks_unavailable:
            return Reason(UNAVAILABLE, network=network, why=node.networks_unavailable[network])
    return None


def conditions(request: Request) -> tuple[str, ...]:
    return tuple(f"network {network}" for network in request.networks)
