"""Whitelists: node names between bars, whatever key and operator say: `whitelist:node==node-1|node-2`."""

from __future__ import annotations

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.reason import Reason
from swarmproxy.scheduler.request import Request

MISSING = "not on the whitelist {names}"


def check(request: Request, node: NodeSnapshot) -> Reason | None:
    for expression in request.whitelists:
        if node.name not in expression.value.split("|"):
            return Reason(MISSING, names=expression.value)
    return None


def conditions(request: Request) -> tuple[str, ...]:
    return tuple(map(str, request.whitelists))
