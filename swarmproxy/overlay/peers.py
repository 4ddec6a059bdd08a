"""All endpoints of the cluster as this node's overlays need them, kept from the store.

One `Forwarding` a network that this node carries; records of other networks are kept as bytes by the cache only.
Changes are handed on per network, in the order of the store.
"""

from __future__ import annotations

from collections.abc import Callable

from swarmproxy.discovery.store import Event
from swarmproxy.model import keys
from swarmproxy.model.codec import decode
from swarmproxy.model.records import Endpoint, Member
from swarmproxy.overlay.follow import Mirror, follow
from swarmproxy.overlay.forwarding import Change, Forwarding

__all__ = ["Peers"]


class Peers:
    """`changed(nid, changes)` is told of what must be programmed; `members(vteps)` of every change of VTEPs."""

    def __init__(
        self,
        *,
        mirror: Mirror,
        node: str,
        changed: Callable[[str, list[Change]], None],
        members: Callable[[frozenset[str]], None],
    ) -> None:
        self._mirror = mirror
        self._node = node
        self._changed = changed
        self._members = members
        self._vteps: dict[str, str] = {}
        self._mtus: dict[str, int] = {}
        self._tables: dict[str, Forwarding] = {}
        self._stops = [follow(mirror, keys.NODES, self._member), follow(mirror, keys.ENDPOINTS, self._endpoint)]

    def close(self) -> None:
        for stop in self._stops:
            stop()

    @property
    def vteps(self) -> frozenset[str]:
        return frozenset(self._vteps.values())

    @property
    def mtus(self) -> list[int]:
        """Underlay MTUs of all members, in bytes."""
        return list(self._mtus.values())

    def table(self, nid: str) -> Forwarding:
        """The network's forwarding table; followed from the first call on."""
        if nid not in self._tables:
            table = self._tables[nid] = Forwarding(self._node, dict(self._vteps))
            for kv in self._mirror.under(keys.endpoints(nid)):
                if (record := decode(Endpoint, kv.value)) is not None:
                    table.put(keys.parts(kv.key)[2], record, kv.mod_revision)
        return self._tables[nid]

    def forget(self, nid: str) -> None:
        self._tables.pop(nid, None)

    def _member(self, event: Event) -> None:
        node = keys.parts(event.kv.key)[1]
        record = decode(Member, event.kv.value) if event.kind == "put" else None
        before = self.vteps
        vtep = record.vtep if record is not None else ""
        self._mtus.pop(node, None)
        self._vteps.pop(node, None)
        if record is not None and vtep:
            self._vteps[node] = vtep
            self._mtus[node] = record.mtu
        for nid, table in self._tables.items():
            if changes := table.move(node, vtep):
                self._changed(nid, changes)
        if self.vteps != before:
            self._members(self.vteps)

    def _endpoint(self, event: Event) -> None:
        _, nid, endpoint_id = keys.parts(event.kv.key)
        table = self._tables.get(nid)
        if table is None:
            return
        record = decode(Endpoint, event.kv.value) if event.kind == "put" else None
        if record is None:
            changes = table.remove(endpoint_id)
        else:
            changes = table.put(endpoint_id, record, event.kv.mod_revision)
        if changes:
            self._changed(nid, changes)
