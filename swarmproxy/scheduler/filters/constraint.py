"""Constraints: what a node must be. Key `node` compares id and name, any other key the node's facts and labels.

A fact of the engine wins over a label of the same name. A node that lacks the label fails `==` and passes `!=`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.reason import Reason
from swarmproxy.scheduler.request import Request

FACTS: Mapping[str, Callable[[NodeSnapshot], str]] = {
    "storagedriver": attrgetter("storage_driver"),
    "kernelversion": attrgetter("kernel_version"),
    "operatingsystem": attrgetter("operating_system"),
    "ostype": attrgetter("os_type"),
    "architecture": attrgetter("architecture"),
}

OTHER = "constraint {text} does not hold: {key} is {here}"
LACKS = "constraint {text} does not hold: no label {key}"


def check(request: Request, node: NodeSnapshot) -> Reason | None:
    for expression in request.constraints:
        subjects = _subjects(expression.key, node)
        if not expression.holds(*subjects):
            if subjects:
                return Reason(OTHER, text=expression.text, key=expression.key, here=subjects[-1])
            return Reason(LACKS, text=expression.text, key=expression.key)
    return None


def conditions(request: Request) -> tuple[str, ...]:
    return tuple(map(str, request.constraints))


def _subjects(key: str, node: NodeSnapshot) -> tuple[str, ...]:
    if key == "node":
        return node.id, node.name
    fact = FACTS.get(key)
    if fact is not None:
        return (fact(node),)
    return (node.labels[key],) if key in node.labels else ()
