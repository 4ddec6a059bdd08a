"""Data does not move: who uses a named volume goes where it is."""

from __future__ import annotations

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.reason import Reason
from swarmproxy.scheduler.request import Request

ELSEWHERE = "volume {volume} is on {home}"
NOWHERE = "volume {volume} is on no node"


def check(request: Request, node: NodeSnapshot) -> Reason | None:
    for bond in request.volume_homes:
        if not bond.node:
            return Reason(NOWHERE, volume=bond.target)
        if bond.node != node.id:
            return Reason(ELSEWHERE, volume=bond.target, home=bond.node_name or bond.node)
    return None


def conditions(request: Request) -> tuple[str, ...]:
    return tuple(bond.text for bond in request.volume_homes)
