"""CPU and memory: the sum of what is claimed, this container included, stays within the node.

Who asks for nothing always fits, as ever. What the container would replace counts as free.
"""

from __future__ import annotations

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.reason import Bytes, Cpus, Reason
from swarmproxy.scheduler.request import Request

CPU = "{asked} CPUs are asked for, {free} of {total} are free"
MEMORY = "{asked} of memory are asked for, {free} of {total} are free"


def check(request: Request, node: NodeSnapshot) -> Reason | None:
    if not request.cpu and not request.memory:
        return None
    own = request.replaced(node)
    free = node.cpu_total - node.cpu_reserved + own.cpu
    if request.cpu and request.cpu > free:
        return Reason(CPU, asked=Cpus(request.cpu), free=Cpus(max(0, free)), total=Cpus(node.cpu_total))
    free = node.memory_total - node.memory_reserved + own.memory
    if request.memory and request.memory > free:
        return Reason(MEMORY, asked=Bytes(request.memory), free=Bytes(max(0, free)), total=Bytes(node.memory_total))
    return None


def conditions(request: Request) -> tuple[str, ...]:
    asked = ((request.cpu, f"{Cpus(request.cpu)} CPUs"), (request.memory, f"{Bytes(request.memory)} memory"))
    return tuple(text for amount, text in asked if amount)
