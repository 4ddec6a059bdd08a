"""All containers of the cluster, in every order that somebody reads them: by node, id, name, age, and as sums.

The one place where an entry comes in, changes or goes, so that no index can miss it. Nothing here waits: an entry
changes between two turns of the loop or not at all. Who may change it, and when, is the ledger's decision, not ours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from swarmproxy.cluster.entry import Entry, Rewrite, identity
from swarmproxy.cluster.index import Index
from swarmproxy.cluster.node import Node
from swarmproxy.cluster.pages import Pages
from swarmproxy.cluster.totals import Totals

logger = logging.getLogger(__name__)

Claimed = Callable[[str], tuple[str, str, str] | None]
"""name → (node id, token, container id or "") of the store's claim, None when nobody has claimed it."""


@dataclass(frozen=True, slots=True)
class Change:
    """`before` is None for "appeared", `entry` is the last known one for "gone"."""

    kind: Literal["appeared", "changed", "gone"]
    entry: Entry
    before: Entry | None = None


class Catalog:
    """See the module. `node_names`: every name is shown as `node/name`."""

    def __init__(self, *, rewrite: Rewrite, claimed: Claimed, node_names: bool = False) -> None:
        self._rewrite = rewrite
        self._claimed = claimed
        self._node_names = node_names
        self._all = Pages()
        self._running = Pages()
        self._listeners: list[Callable[[Change], None]] = []
        self.index = Index(self._choose)
        self.totals = Totals()

    # -- reading ---------------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return len(self._all)

    def entries(self, all: bool) -> Iterator[Entry]:
        return iter(self._all if all else self._running)

    def chunks(self, all: bool, now: float) -> Iterator[bytes]:
        return (self._all if all else self._running).chunks(now)

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    # -- changing --------------------------------------------------------------------------------------------------
    def take(self, node: Node, raw: bytes, asked: float, answered: float, nanoseconds: int = 0) -> Entry:
        """The engine showed this list item between two instants of our clock. Raises msgspec.DecodeError.

        Args:
            nanoseconds: orders containers of one second; used when the entry is new.
        """
        raw = bytes(raw)
        known = node.containers.get(identity(raw))
        if known is not None and known.raw == raw:
            self._observe(known, raw, asked, answered)
            return known
        return self._put(node, raw, known, asked, answered, -known.order[1] if known else nanoseconds)

    def _put(
        self, node: Node, raw: bytes, known: Entry | None, asked: float, answered: float, nanoseconds: int
    ) -> Entry:
        entry = Entry(
            raw,
            node,
            rewrite=self._rewrite,
            asked=asked,
            answered=answered,
            nanoseconds=nanoseconds,
            previous=known,
        )
        node.containers[entry.id] = entry
        if known is None:
            self.index.add(entry)
            self._all.insert(entry)
            if entry.running:
                self._running.insert(entry)
            self.totals.add(entry)
        else:
            self._exchange(known, entry)
        for name in {entry.name, known.name if known else entry.name}:
            self.rename(name)
        if known is None:
            self._tell(Change("appeared", entry))
        elif not entry.same_bytes(known):
            self._tell(Change("changed", entry, known))
        return entry

    def _exchange(self, old: Entry, new: Entry) -> None:
        self.index.replace(old, new)
        self._all.replace(old, new)
        if old.running and new.running:
            self._running.replace(old, new)
        elif new.running:
            self._running.insert(new)
        elif old.running:
            self._running.remove(old)
        if old.state != new.state:
            self.totals.remove(old)
            self.totals.add(new)

    def drop(self, node: Node, container: str) -> Entry | None:
        """It is no more. The entry that it was."""
        entry = node.containers.pop(container, None)
        if entry is None:
            return None
        self.index.remove(entry)
        self._all.remove(entry)
        if entry.running:
            self._running.remove(entry)
        self.totals.remove(entry)
        self.rename(entry.name)
        self._tell(Change("gone", entry))
        return entry

    def rename(self, name: str) -> None:
        """Who holds `name` may have changed."""
        same = self.index.named(name)
        if not same:
            return
        holder = self.index.holder(name)
        for entry in same:
            plain = entry is holder and not self._node_names
            shown = name if plain else f"{entry.node.name}/{name}"
            if shown != entry.shown:
                entry.show(shown)
                self._spoil(entry)

    def order(self, entry: Entry, nanoseconds: int) -> None:
        """Its creation is now known more closely than to the second."""
        if entry.order[1] == -nanoseconds or entry.node.containers.get(entry.id) is not entry:
            return
        self._all.remove(entry)
        if entry.running:
            self._running.remove(entry)
        entry.order = (entry.order[0], -nanoseconds, *entry.order[2:])
        self._all.insert(entry)
        if entry.running:
            self._running.insert(entry)

    def know(self, entry: Entry, lo: float, hi: float) -> None:
        """Its Status counts from an instant in [lo, hi] of our clock."""
        entry.know(lo, hi)
        self._spoil(entry)

    def _observe(self, entry: Entry, raw: bytes, asked: float, answered: float) -> None:
        before = entry.status
        entry.observe(raw, asked, answered)
        if entry.status is not before:
            self._spoil(entry)

    def rebuild(self, node: Node, ids: frozenset[str] | None = None) -> None:
        """The node's name, address or network ids changed: its entries are made anew from the engine's bytes.

        Args:
            ids: only entries on networks with one of these ids; None = all.
        """
        for entry in tuple(node.containers.values()):
            if ids is None or entry.network_mode in ids or not ids.isdisjoint(entry.networks.values()):
                self._put(node, entry.raw, entry, entry.status.lo, entry.status.hi, -entry.order[1])

    def age(self, node: Node) -> None:
        """The engine was given up or came back: all its texts say so."""
        for entry in node.containers.values():
            entry.age()
        self._all.spoil_all()
        self._running.spoil_all()

    def _spoil(self, entry: Entry) -> None:
        self._all.spoil(entry)
        if entry.running:
            self._running.spoil(entry)

    # -- names -----------------------------------------------------------------------------------------------------
    def _choose(self, name: str, same: tuple[Entry, ...]) -> Entry:
        """The claim's container; without one, the oldest."""
        claim = self._claimed(name)
        if claim is not None:
            node_id, token, container = claim
            for entry in same:
                known = entry.id == container if container else bool(token) and entry.token == token
                if entry.node.id == node_id and known:
                    return entry
        return min(same, key=lambda entry: (entry.created, entry.node.id, entry.id))

    def _tell(self, change: Change) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(change)
            except Exception:
                logger.exception("a listener of the view failed on %r", change.entry)
