"""Following a part of the store: what is there now, then every change.

A listener is told of all keys under its prefix as puts, then of changes in order. Hearing a put twice must not matter
to it; the cache may list again after an outage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from swarmproxy.discovery.store import KV, Event

__all__ = ["Mirror", "follow"]


class Mirror(Protocol):
    """What the overlay and DNS need of `discovery.cache.Cache`."""

    @property
    def lost_since(self) -> float | None: ...

    def get(self, key: str) -> KV | None: ...

    def under(self, prefix: str) -> list[KV]: ...

    def listen(self, prefix: str, fn: Callable[[Event], None]) -> Callable[[], None]: ...


def follow(mirror: Mirror, prefix: str, fn: Callable[[Event], None]) -> Callable[[], None]:
    """Calls `fn` for what is there and for what comes; returns the end of it."""
    stop = mirror.listen(prefix, fn)
    for kv in mirror.under(prefix):
        fn(Event("put", kv))
    return stop
