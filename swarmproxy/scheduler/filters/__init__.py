"""Placement filters, one a module, in the order in which they are asked and blamed.

A module has `check(request, node) -> Reason | None` and `conditions(request)`, the words with which classic Swarm lists
what was asked. Adding a rule = a module and a line here. The seven of classic Swarm can be chosen with --filter; the
others are about what an engine can do at all and always run. Resources come last: only where they alone are missing
is the answer "no resources available".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.filters import (
    affinity,
    availability,
    constraint,
    dependency,
    health,
    network,
    platform,
    port,
    resources,
    slots,
    volume,
    whitelist,
)
from swarmproxy.scheduler.reason import Reason
from swarmproxy.scheduler.request import Request

__all__ = ["FILTERS", "Filter", "by_name"]


@dataclass(frozen=True, slots=True)
class Filter:
    name: str
    check: Callable[[Request, NodeSnapshot], Reason | None]
    conditions: Callable[[Request], tuple[str, ...]]
    always: bool = False
    """Not to be switched off."""


FILTERS: tuple[Filter, ...] = (
    Filter("health", health.check, health.conditions),
    Filter("availability", availability.check, availability.conditions, always=True),
    Filter("platform", platform.check, platform.conditions, always=True),
    Filter("port", port.check, port.conditions),
    Filter("containerslots", slots.check, slots.conditions),
    Filter("dependency", dependency.check, dependency.conditions),
    Filter("affinity", affinity.check, affinity.conditions),
    Filter("constraint", constraint.check, constraint.conditions),
    Filter("whitelist", whitelist.check, whitelist.conditions),
    Filter("volume", volume.check, volume.conditions, always=True),
    Filter("network", network.check, network.conditions, always=True),
    Filter("resources", resources.check, resources.conditions, always=True),
)


def by_name(names: Iterable[str] = ()) -> tuple[Filter, ...]:
    """The filters that `--filter` chooses, in the house's order; no name = all. Raises ValueError for unknown ones."""
    chosen = set(names)
    known = [entry.name for entry in FILTERS]
    if unknown := sorted(chosen - set(known)):
        raise ValueError(f"unknown filter {unknown[0]!r}: choose from {', '.join(known)}")
    return tuple(entry for entry in FILTERS if entry.always or not chosen or entry.name in chosen)
