"""Least full first, then fewest containers, then who holds the image, then a fair draw (see `weight`)."""

from __future__ import annotations

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.request import Request
from swarmproxy.scheduler.strategies.weight import draw, others, weigh


def score(request: Request, node: NodeSnapshot) -> tuple[int, int, bool, bytes]:
    return weigh(request, node), others(request, node), *draw(request, node)
