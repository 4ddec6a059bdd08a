"""What was true a moment ago and that nobody can list: where execs run, and how containers ended.

An engine forgets the exit code of a removed container at once, but clients ask for it afterwards (Compose's `run` waits
only once the container has started, `--rm` may be quicker). Exec ids are in no list at all. Bounded: the oldest go.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")

KEPT = 16384


class Recent(Generic[V]):
    """The last `kept` keys that were put, with their values."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._values: OrderedDict[str, V] = OrderedDict()

    def put(self, key: str, value: V) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._kept:
            self._values.popitem(last=False)

    def get(self, key: str) -> V | None:
        return self._values.get(key)

    def pop(self, key: str) -> V | None:
        return self._values.pop(key, None)


class Lately:
    """execs: exec id → node id. exits: container id → exit code."""

    def __init__(self) -> None:
        self.execs: Recent[str] = Recent()
        self.exits: Recent[int] = Recent()
