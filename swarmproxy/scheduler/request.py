"""What a container asks of a node: one frozen value, read by every filter and strategy.

`parse` (in `body`) fills what a create body says; the caller adds what only the cluster knows with
`dataclasses.replace`: where dependencies and volumes live, which networks span hosts, the platform of the image.
Nothing here is forwarded to an engine.

Units: CPU in nano-CPUs, memory in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from swarmproxy.model.records import Port
from swarmproxy.model.snapshot import Holding, NodeSnapshot, Use
from swarmproxy.scheduler.expression import Expression

__all__ = ["Bond", "Request"]

NOTHING = Use()


@dataclass(frozen=True, slots=True)
class Bond:
    """Something that ties the container to one node.

    An unresolved bond (`node` == "") refuses every node: drop it where the engine itself would only fail at start.
    """

    text: str
    """The condition as people wrote it: --volumes-from=db, --link=db:database, --net=container:db, volume data."""
    target: str
    """Whom it names: a container, a volume or a network."""
    node: str = ""
    """Id of the node where the target is."""
    node_name: str = ""

    def at(self, node: str, node_name: str) -> Self:
        return replace(self, node=node, node_name=node_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    name: str = ""
    image: str = ""
    """The reference as sent."""
    image_id: str = ""
    """What it means in this cluster; nodes that hold it are preferred among equals."""
    cpu: int = 0
    memory: int = 0
    ports: tuple[Port, ...] = ()
    """Host ports that must be free: what the claim takes, too."""
    host_network: bool = False
    unit: str = ""
    """Compose "project/service/number": the container that this one would replace."""

    constraints: tuple[Expression, ...] = ()
    affinities: tuple[Expression, ...] = ()
    whitelists: tuple[Expression, ...] = ()
    reschedule: str = ""
    """"", off or on-node-failure."""

    dependencies: tuple[Bond, ...] = ()
    """volumes-from, links on the default bridge, container: modes."""
    volumes: tuple[str, ...] = ()
    """Names of the named volumes it mounts."""
    volume_homes: tuple[Bond, ...] = ()
    """Filled by the caller: volumes that have an owner."""
    networks: tuple[str, ...] = ()
    """Names or ids of the networks it asks for at create."""
    network_homes: tuple[Bond, ...] = ()
    """Filled by the caller: networks that live on one node."""
    needs_overlay: bool = False
    """Filled by the caller: it joins a network that spans hosts."""
    platform: str = ""
    """os/arch/variant, os/arch, os, or "" for any."""

    @property
    def soft(self) -> bool:
        """Whether `hardened` is a different request."""
        return any(expression.soft for expression in (*self.constraints, *self.affinities, *self.whitelists))

    def hardened(self) -> Self:
        """The same request without its soft expressions."""
        return replace(
            self,
            constraints=tuple(expression for expression in self.constraints if not expression.soft),
            affinities=tuple(expression for expression in self.affinities if not expression.soft),
            whitelists=tuple(expression for expression in self.whitelists if not expression.soft),
        )

    def replaces(self, holding: Holding) -> bool:
        """Whether the holder is the container that this one comes instead of."""
        return bool(self.unit) and holding.unit == self.unit

    def replaced(self, node: NodeSnapshot) -> Use:
        """What of the node's sums is this request's own predecessor."""
        return node.units.get(self.unit, NOTHING) if self.unit else NOTHING
