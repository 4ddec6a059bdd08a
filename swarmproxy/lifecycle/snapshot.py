"""The frozen picture of the nodes that the scheduler is shown: built from claims and the view, without I/O.

A node's sums (CPU, memory, ports) come from `alloc/`, kept running by Records, so a snapshot costs O(nodes) and the
ports that are held. Containers are looked at only when the request has affinities.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from swarmproxy.cluster.node import Node
from swarmproxy.lifecycle import image as images
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model.snapshot import ContainerFact, Holding, NodeSnapshot, Use
from swarmproxy.scheduler.request import Request

MEMORY_OVERCOMMIT = 0.05
"""As classic Swarm: a node's memory counts for a twentieth more than it has."""


def take(
    cluster: Cluster, request: Request, unavailable: Mapping[str, Mapping[str, str]] | None = None
) -> list[NodeSnapshot]:
    """Snapshots of all nodes.

    Args:
        unavailable: node id → network name → why it cannot be there.
    """
    return [_node(cluster, request, node, (unavailable or {}).get(node.id, {})) for node in cluster.view.nodes.values()]


def _node(cluster: Cluster, request: Request, node: Node, unavailable: Mapping[str, str]) -> NodeSnapshot:
    allocs = cluster.records.allocs.get(node.id, {})
    holdings: list[Holding] = []
    units: dict[str, Use] = {}
    cpu = memory = 0
    for held in allocs.values():
        alloc = held.value
        cpu += alloc.cpu
        memory += alloc.memory
        holdings += [
            Holding(port=port.port, protocol=port.protocol, ip=port.ip, holder=alloc.name, unit=alloc.unit)
            for port in alloc.ports
        ]
        if request.unit and alloc.unit == request.unit:
            units[alloc.unit] = _add(units.get(alloc.unit, Use()), alloc.cpu, alloc.memory)
    unbound = sum(1 for held in allocs.values() if held.value.container not in node.containers)
    info = node.info
    return NodeSnapshot(
        id=node.id,
        name=node.name,
        labels=node.labels,
        storage_driver=str(info.get("Driver") or ""),
        kernel_version=str(info.get("KernelVersion") or ""),
        operating_system=str(info.get("OperatingSystem") or ""),
        os_type=str(info.get("OSType") or "linux"),
        architecture=str(info.get("Architecture") or ""),
        api=node.engine.api,
        availability=node.member.availability,
        healthy=node.healthy and node.ready,
        health_reason=node.health.reason or ("" if node.ready else "not listed yet"),
        agent=node.agent_alive,
        networks_unavailable=unavailable,
        cpu_total=node.cpus * 10**9,
        cpu_reserved=cpu,
        memory_total=int(node.memory * (1 + MEMORY_OVERCOMMIT)),
        memory_reserved=memory,
        container_count=len(node.containers) + unbound,
        units=units,
        ports=tuple(holdings),
        images=_images(request, node),
        containers=tuple(_facts(node)) if request.affinities else (),
    )


def _add(use: Use, cpu: int, memory: int) -> Use:
    return Use(cpu=use.cpu + cpu, memory=use.memory + memory, containers=use.containers + 1)


def _images(request: Request, node: Node) -> frozenset[str]:
    if request.affinities:
        return frozenset(node.images) | {tag for image in node.images.values() for tag in images.tags(image)}
    return frozenset((request.image_id,)) if request.image_id in node.images else frozenset()


def _facts(node: Node) -> Iterable[ContainerFact]:
    for entry in node.containers.values():
        yield ContainerFact(id=entry.id, name=entry.name, labels=entry.labels)
