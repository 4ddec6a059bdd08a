"""Nodes and requests for the tests of this folder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.expression import parse
from swarmproxy.scheduler.request import Request

GIB = 2**30
CPU = 10**9


def node(number: int, **facts: Any) -> NodeSnapshot:
    base: dict[str, Any] = {
        "id": f"id-{number}",
        "name": f"node-{number}",
        "architecture": "x86_64",
        "cpu_total": 4 * CPU,
        "memory_total": 8 * GIB,
    }
    return NodeSnapshot(**(base | facts))


def nodes(count: int, **facts: Any) -> list[NodeSnapshot]:
    return [node(number, **facts) for number in range(1, count + 1)]


def asking(
    *,
    constraints: tuple[str, ...] = (),
    affinities: tuple[str, ...] = (),
    whitelists: tuple[str, ...] = (),
    **more: Any,
) -> Request:
    return Request(
        constraints=tuple(map(parse, constraints)),
        affinities=tuple(map(parse, affinities)),
        whitelists=tuple(map(parse, whitelists)),
        **more,
    )


def with_one_more(target: NodeSnapshot, request: Request) -> NodeSnapshot:
    """The node after it took the request."""
    return replace(
        target,
        container_count=target.container_count + 1,
        cpu_reserved=target.cpu_reserved + request.cpu,
        memory_reserved=target.memory_reserved + request.memory,
    )
