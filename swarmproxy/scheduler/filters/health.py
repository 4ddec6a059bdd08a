"""A node whose engine does not answer takes nothing new."""

from __future__ import annotations

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.reason import Reason
from swarmproxy.scheduler.request import Request

UNHEALTHY = "unhealthy: {why}"


def check(request: Request, node: NodeSnapshot) -> Reason | None:
    return None if node.healthy else Reason(UNHEALTHY, why=node.health_reason or "no answer yet")


def conditions(request: Request) -> tuple[str, ...]:
    return ()
