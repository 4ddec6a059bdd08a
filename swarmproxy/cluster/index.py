"""From what a client calls a container to the container.

The order is an engine's own: full id, exact name, unique id prefix (of one digit or more); then what only a cluster
needs, `node/name` and `node/prefix`. Engines may hold equal names, from before they joined: one of them holds the plain
name, the others are reached through their node. Prefixes are a bisection over all ids; a name is one dict access.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable

from swarmproxy.cluster.entry import Entry
from swarmproxy.model.errors import BadRequest, NotFound

_HEX = re.compile(r"[0-9a-f]{1,64}\Z")

Holder = Callable[[str, tuple[Entry, ...]], Entry]
"""(name, all that have it) → which of them holds it. Never asked about fewer than two."""


class Index:
    """All entries of the cluster by id and name."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder
        self._ids: list[str] = []
        self._by_id: dict[str, tuple[Entry, ...]] = {}
        self._by_name: dict[str, tuple[Entry, ...]] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, entry: Entry) -> None:
        """An entry that is not there yet."""
        same = self._by_id.get(entry.id)
        if same is None:
            insort(self._ids, entry.id)
        # One id on two nodes happens when a host was cloned with its engine's data.
        self._by_id[entry.id] = tuple(sorted((*(same or ()), entry), key=lambda one: one.node.id))
        if entry.name:
            self._by_name[entry.name] = (*self._by_name.get(entry.name, ()), entry)

    def remove(self, entry: Entry) -> None:
        if not _without(self._by_id, entry.id, entry):
            del self._ids[bisect_left(self._ids, entry.id)]
        if entry.name:
            _without(self._by_name, entry.name, entry)

    def replace(self, old: Entry, new: Entry) -> None:
        """The same container, read again."""
        if old.name == new.name:
            self._by_id[old.id] = tuple(new if one is old else one for one in self._by_id[old.id])
            if old.name:
                self._by_name[old.name] = tuple(new if one is old else one for one in self._by_name[old.name])
        else:
            self.remove(old)
            self.add(new)

    def named(self, name: str) -> tuple[Entry, ...]:
        """All that their engines call so."""
        return self._by_name.get(name, ())

    def holder(self, name: str) -> Entry | None:
        """The one that the cluster calls so."""
        same = self._by_name.get(name, ())
        return self._holder(name, same) if len(same) > 1 else (same[0] if same else None)

    def find(self, ref: str, node_of: Callable[[str], str | None]) -> Entry:
        """What `ref` means.

        Args:
            node_of: node id or name → node id.

        Raises:
            NotFound, BadRequest: in Docker's words.
        """
        name = ref.removeprefix("/")
        known = self._by_id.get(name)
        if known:
            return known[0]
        found = self.holder(name) or self._by_prefix(name, None)
        if found is None and "/" in name:
            where, _, rest = name.partition("/")
            node_id = node_of(where)
            if node_id is not None:
                found = _on(node_id, self._by_name.get(rest, ())) or self._by_prefix(rest, node_id)
        if found is None:
            raise NotFound(f"No such container: {ref}")
        return found

    def _by_prefix(self, prefix: str, node_id: str | None) -> Entry | None:
        if not _HEX.match(prefix):
            return None
        found: Entry | None = None
        for place in range(bisect_left(self._ids, prefix), len(self._ids)):
            identity = self._ids[place]
            if not identity.startswith(prefix):
                break
            same = self._by_id[identity]
            entry = same[0] if node_id is None else _on(node_id, same)
            if entry is not None:
                if found is not None:
                    raise BadRequest(f"multiple IDs found with provided prefix: {prefix}")
                found = entry
        return found


def _on(node_id: str, entries: Iterable[Entry]) -> Entry | None:
    return next((entry for entry in entries if entry.node.id == node_id), None)


def _without(index: dict[str, tuple[Entry, ...]], key: str, entry: Entry) -> bool:
    """Takes it out; whether others remain."""
    rest = tuple(one for one in index[key] if one is not entry)
    if rest:
        index[key] = rest
    else:
        del index[key]
    return bool(rest)
