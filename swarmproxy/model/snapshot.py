"""What the scheduler knows of the cluster at one instant: frozen values, built by the view, read by pure functions.

One NodeSnapshot a member. It is made from claims (`alloc/`), not from inspect results: a claim exists before the engine
is asked and dies with it. What few requests need is left empty unless asked for: `containers` only when the request
has affinities, image tags only when it has an `image` affinity. A snapshot may be kept and used again until its node
changes; the port index is built at the first question and stays.

Units: CPU in nano-CPUs (10^9 = one core), memory in bytes. Overcommit is already in the totals.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from swarmproxy.model.records import Port

ACTIVE = "active"
PAUSE = "pause"
DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Holding:
    """One host port that a container holds or has claimed."""

    port: int
    protocol: str = "tcp"
    ip: str = ""
    """Host address; "" = every address of both families."""
    holder: str = ""
    """Name of the container."""
    unit: str = ""
    """Compose "project/service/number" of the container, or ""."""

    def clashes(self, want: Port) -> bool:
        """Whether the engine could not bind `want` beside this."""
        return self.port == want.port and self.protocol == want.protocol and _overlap(self.ip, want.ip)


@dataclass(frozen=True, slots=True)
class Use:
    """What a set of containers takes of a node."""

    cpu: int = 0
    memory: int = 0
    containers: int = 0


@dataclass(frozen=True, slots=True)
class ContainerFact:
    """What affinities ask about one container. `name` has no leading slash."""

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSnapshot:
    """One node. `name` is unique in the cluster."""

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """The member's own labels over the engine's."""

    storage_driver: str = ""
    kernel_version: str = ""
    operating_system: str = ""
    os_type: str = "linux"
    architecture: str = ""
    """As `docker info` says it: x86_64, aarch64 …"""
    api: str = ""
    """Highest API version of the engine."""

    availability: str = ACTIVE
    healthy: bool = True
    health_reason: str = ""
    """Why it is not healthy: "connection refused"."""
    agent: bool = True
    """An agent lives there, so containers can be on cluster networks."""
    networks_unavailable: Mapping[str, str] = field(default_factory=dict)
    """Network name → why it cannot be made there."""

    cpu_total: int = 0
    cpu_reserved: int = 0
    memory_total: int = 0
    memory_reserved: int = 0
    container_count: int = 0
    """All containers, stopped and pending ones too."""
    units: Mapping[str, Use] = field(default_factory=dict)
    """Compose unit → its share of the sums above; a replacement of that unit does not compete with it."""

    ports: tuple[Holding, ...] = ()
    images: frozenset[str] = frozenset()
    """Image ids; for requests with an `image` affinity also RepoTags."""
    containers: Sequence[ContainerFact] = ()

    _by_port: dict[int, list[Holding]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def holders(self, want: Port) -> list[Holding]:
        """All holdings that clash with `want`."""
        if not self.ports:
            return []
        if not self._by_port:
            for holding in self.ports:
                self._by_port.setdefault(holding.port, []).append(holding)
        return [holding for holding in self._by_port.get(want.port, ()) if holding.clashes(want)]


def _overlap(one: str, other: str) -> bool:
    """ "" covers both families, 0.0.0.0 and :: their own; a text that is no address clashes with all."""
    if not one or not other or one == other:
        return True
    first, second = _address(one), _address(other)
    if first is None or second is None:
        return True
    if first.version != second.version:
        return False
    return first.is_unspecified or second.is_unspecified or first == second


@lru_cache(maxsize=1024)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
