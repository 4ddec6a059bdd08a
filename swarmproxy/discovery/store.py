"""What every store promises; one contract suite (tests/store) runs against all of them.

`txn` is all or nothing and linearizable. `list` is a snapshot at one revision. `watch` delivers every revision after
`after` once and in order, or raises Compacted. A lease may outlive its owner by up to one TTL. Nothing else holds.

Three compares are enough for every race in the cluster: `Absent` (create once), `ModIs` (compare and set, fencing) and
`NoneNewer` (nothing under a prefix changed since a snapshot, which guards a sum without a counter that could leak).
Deletions pass a NoneNewer unseen: they only ever free capacity.

A transaction whose answer was lost may have been applied. Who retries a create-if-absent puts its own token into the
value and counts "there, with my token" as success.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = [
    "KV",
    "Absent",
    "Batch",
    "Compacted",
    "Compare",
    "Delete",
    "Event",
    "LeaseNotFound",
    "ModIs",
    "NoneNewer",
    "Op",
    "Put",
    "Store",
    "StoreError",
    "TxnResult",
    "Unavailable",
]


class StoreError(Exception):
    """Root of what a store raises."""


class Unavailable(StoreError):
    """No answer in time, no leader, or no connection. A write may or may not have happened."""


class Compacted(StoreError):
    """The history asked for is gone; list again and go on from there."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"history before revision {revision} is compacted")
        self.revision = revision


class LeaseNotFound(StoreError):
    """The lease has expired or was revoked: everything on it is gone."""


@dataclass(frozen=True, slots=True)
class KV:
    """One key at one revision. Keys are relative to the store's root."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """A change of one key. On "delete" the value is empty and mod_revision is the deletion's."""

    kind: Literal["put", "delete"]
    kv: KV


@dataclass(frozen=True, slots=True)
class Batch:
    """All changes of one or more whole revisions, in order; `revision` is the last of them."""

    revision: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    key: str


@dataclass(frozen=True, slots=True)
class ModIs:
    """The key was last written at `revision` (0 = absent)."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class NoneNewer:
    """No key under `prefix` was written after `revision`."""

    prefix: str
    revision: int


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes the key if it is there."""

    key: str


Compare = Absent | ModIs | NoneNewer
Op = Put | Delete


@dataclass(frozen=True, slots=True)
class TxnResult:
    """`ok`: all compares held and all ops were applied, at `revision`. Else nothing was; `revision` is the store's."""

    ok: bool
    revision: int


class Store(Protocol):
    """See the module's docstring for the guarantees. Every call has a deadline and raises Unavailable after it."""

    async def get(self, key: str) -> KV | None: ...

    async def list(self, prefix: str) -> tuple[int, list[KV]]:
        """All keys under a prefix, ordered, with the revision of the snapshot."""
        ...

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        """At most 128 ops, one op per key. Raises LeaseNotFound when a Put names a dead lease."""
        ...

    async def grant(self, ttl: float) -> int:
        """A new lease of `ttl` seconds."""
        ...

    async def keepalive(self, lease: int) -> float:
        """Renews; the seconds it now has. Raises LeaseNotFound."""
        ...

    async def revoke(self, lease: int) -> None:
        """Ends a lease and deletes its keys; unknown leases are no error."""
        ...

    def watch(self, prefix: str, after: int) -> AsyncIterator[Batch]:
        """Every change under `prefix` after revision `after`. Ends only by Compacted, Unavailable or its closing."""
        ...

    async def close(self) -> None: ...
