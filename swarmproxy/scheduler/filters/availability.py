"""An operator's word: a paused or draining node takes nothing new."""

from __future__ import annotations

from swarmproxy.model.snapshot import ACTIVE, NodeSnapshot
from swarmproxy.scheduler.reason import Reason
from swarmproxy.scheduler.request import Request

CLOSED = "availability is {availability}: no new containers"


def check(request: Request, node: NodeSnapshot) -> Reason | None:
    return None if node.availability == ACTIVE else Reason(CLOSED, availability=node.availability)


def conditions(request: Request) -> tuple[str, ...]:
    return ()
