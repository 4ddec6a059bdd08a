"""Sums that `info` shows, kept as things change: an `info` over 30,000 containers reads a few numbers a node.

A restarting container counts as stopped, as the engine's own `info` has it (its list counts it as running).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from swarmproxy.cluster.entry import Entry


@dataclass(slots=True)
class Counts:
    """Containers of one node, or of all."""

    containers: int = 0
    running: int = 0
    paused: int = 0
    stopped: int = 0

    def count(self, state: str, by: int) -> None:
        self.containers += by
        match state:
            case "running":
                self.running += by
            case "paused":
                self.paused += by
            case _:
                self.stopped += by


class Totals:
    """Running sums over all nodes."""

    def __init__(self) -> None:
        self.all = Counts()
        self._nodes: dict[str, Counts] = {}
        self._images: Counter[str] = Counter()
        self._machines: dict[str, tuple[int, int]] = {}
        self.cpus = 0
        self.memory = 0
        """Bytes."""

    @property
    def images(self) -> int:
        """Distinct image ids."""
        return len(self._images)

    def node(self, node_id: str) -> Counts:
        return self._nodes.get(node_id, Counts())

    def add(self, entry: Entry) -> None:
        self._count(entry, 1)

    def remove(self, entry: Entry) -> None:
        self._count(entry, -1)

    def _count(self, entry: Entry, by: int) -> None:
        self.all.count(entry.state, by)
        self._nodes.setdefault(entry.node.id, Counts()).count(entry.state, by)

    def images_changed(self, before: Iterable[str], after: Iterable[str]) -> None:
        """One node's image ids were `before` and are `after`."""
        self._images.update(tuple(after))  # of a mapping, Counter would add the values
        self._images.subtract(tuple(before))
        self._images = +self._images

    def machine(self, node_id: str, cpus: int, memory: int) -> None:
        """What one node has; 0, 0 when it left."""
        before = self._machines.pop(node_id, (0, 0))
        self.cpus += cpus - before[0]
        self.memory += memory - before[1]
        if cpus or memory:
            self._machines[node_id] = (cpus, memory)
        elif not self.node(node_id).containers:
            self._nodes.pop(node_id, None)
