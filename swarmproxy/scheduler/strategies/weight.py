"""How full a node would be, in classic Swarm's integers, and a fair draw between equals.

    weight = cpu + memory
    cpu    = (reserved + asked) · 100 ÷ total, or 100 when no CPU is asked for; memory likewise

Integer division, so 0…200 for what passes the resources filter; 200 for every node when nothing is asked. What the
container replaces counts as free. Classic Swarm added ±10 × a health score: all candidates are healthy here.
"""

from __future__ import annotations

from hashlib import blake2b

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.request import Request


def weigh(request: Request, node: NodeSnapshot) -> int:
    if not request.cpu and not request.memory:
        return 200
    own = request.replaced(node)
    return _share(node.cpu_reserved - own.cpu, request.cpu, node.cpu_total) + _share(
        node.memory_reserved - own.memory, request.memory, node.memory_total
    )


def _share(reserved: int, asked: int, total: int) -> int:
    return (reserved + asked) * 100 // total if asked and total > 0 else 100


def others(request: Request, node: NodeSnapshot) -> int:
    """Containers there, but for the one this would replace."""
    return node.container_count - request.replaced(node).containers


def draw(request: Request, node: NodeSnapshot) -> tuple[bool, bytes]:
    """Order among equals: first who holds the image (nothing to copy), then by a hash of container name and node id,
    the same in every process and another for every container."""
    lot = blake2b(f"{request.name}\0{node.id}".encode(), digest_size=8).digest()
    return request.image_id not in node.images, lot
