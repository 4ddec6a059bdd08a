"""Whose names are to be left out: pure.

A host is dead to DNS when its agent's lease has been gone for the grace while the store could be read the whole time.
A store that was away tells nothing about hosts, so every grace begins anew when it is back.
"""

from __future__ import annotations

__all__ = ["GRACE", "Liveness"]

GRACE = 10.0
"""Seconds: an agent's restart takes two, a lease six to run out."""


class Liveness:
    """Times are monotonic seconds."""

    def __init__(self, grace: float = GRACE) -> None:
        self._grace = grace
        self._absent: dict[str, float] = {}
        self._dead: set[str] = set()

    def present(self, node: str) -> bool:
        """The node's agent lives; True when it was dead before."""
        self._absent.pop(node, None)
        was = node in self._dead
        self._dead.discard(node)
        return was

    def absent(self, node: str, now: float) -> None:
        """The node's agent has no lease; the first time counts."""
        if node not in self._dead:
            self._absent.setdefault(node, now)

    def forgive(self, now: float) -> None:
        """The store is back: whoever is absent has the whole grace again."""
        self._absent = dict.fromkeys(self._absent, now)

    def due(self, now: float) -> list[str]:
        """The nodes that are dead from now on."""
        over = [node for node, since in self._absent.items() if now - since >= self._grace]
        for node in over:
            del self._absent[node]
        self._dead.update(over)
        return over
