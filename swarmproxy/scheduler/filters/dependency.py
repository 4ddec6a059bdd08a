"""Containers that share another one's volumes, network, processes or memory must be where it is.

Links count only on the default bridge, which has no DNS; on every other network they are aliases and bind nobody.
"""

from __future__ import annotations

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.reason import Reason
from swarmproxy.scheduler.request import Request

ELSEWHERE = "{target} ({text}) is on {home}"
NOWHERE = "{target} ({text}) is on no node"


def check(request: Request, node: NodeSnapshot) -> Reason | None:
    for bond in request.dependencies:
        if not bond.node:
            return Reason(NOWHERE, target=bond.target, text=bond.text)
        if bond.node != node.id:
            return Reason(ELSEWHERE, target=bond.target, text=bond.text, home=bond.node_name or bond.node)
    return None


def conditions(request: Request) -> tuple[str, ...]:
    return tuple(bond.text for bond in request.dependencies)
