"""The label containerslots=N of an engine: no more than N containers there, stopped ones too. No number, no limit."""

from __future__ import annotations

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.reason import Reason
from swarmproxy.scheduler.request import Request

LABEL = "containerslots"
FULL = "all {slots} container slots are taken"


def check(request: Request, node: NodeSnapshot) -> Reason | None:
    if LABEL not in node.labels:
        return None
    try:
        slots = int(node.labels[LABEL])
    except ValueError:
        return None
    return None if node.container_count - request.replaced(node).containers < slots else Reason(FULL, slots=slots)


def conditions(request: Request) -> tuple[str, ...]:
    return ("available container slots",)
