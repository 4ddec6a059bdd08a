"""The cluster in memory, as every read sees it.

Members come from the store; each has a monitor that keeps its node true. Lookups and lists are answered from here
without asking anybody; what changes something asks the engine again before it replies (`refresh`), so a caller always
sees its own change. What another proxy made a moment ago is found by the miss path. An engine that is lost keeps its
containers listed; they leave only with their member.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator

from swarmproxy.cluster.catalog import Catalog, Change
from swarmproxy.cluster.entry import Agrees, Entry, Rewrite
from swarmproxy.cluster.events import EventHub
from swarmproxy.cluster.feed import driver_of
from swarmproxy.cluster.lately import Lately
from swarmproxy.cluster.membership import Membership
from swarmproxy.cluster.miss import Miss
from swarmproxy.cluster.monitor import Monitor
from swarmproxy.cluster.node import Node
from swarmproxy.cluster.records import Changed, Records
from swarmproxy.cluster.totals import Totals
from swarmproxy.discovery.store import Store
from swarmproxy.engine.client import Engine
from swarmproxy.model import keys
from swarmproxy.model.errors import EngineUnreachable, NotFound
from swarmproxy.model.records import LOCAL

logger = logging.getLogger(__name__)

OpenEngine = Callable[[str, str], Engine]


class View:
    """Everything the proxy knows. Lookups never wait; what waits says so by being async.

    Args:
        records: the store's mirror; its members are the nodes.
        rewrite: takes what is ours out of one list item, in place (network ids are swapped already).
        open_engine: (node name, address) → the client of one engine, not yet connected.
        store: for the one read of the miss path; None = no such read.
        node_names: show every container as `node/name`, as classic Swarm did.
    """

    def __init__(
        self,
        records: Records,
        *,
        rewrite: Rewrite,
        open_engine: OpenEngine,
        store: Store | None = None,
        node_names: bool = False,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.records = records
        self.clock = clock
        self.events = EventHub(clock=clock)
        self._lately = Lately()
        self._catalog = Catalog(rewrite=rewrite, claimed=records.claim, node_names=node_names)
        self._membership = Membership(
            records,
            catalog=self._catalog,
            hub=self.events,
            lately=self._lately,
            open_engine=open_engine,
            clock=clock,
            monotonic=monotonic,
            rng=rng or random.Random(),
        )
        self._miss = Miss(self, store, monotonic)
        for prefix in (keys.NAMES, keys.ALLOC):
            records.listen(prefix, self._claim_changed)
        records.listen(keys.NETWORKS, self._network_changed)

    async def run(self) -> None:
        """Keeps the view true until cancelled."""
        await self._membership.run()

    async def ready(self, timeout: float) -> bool:
        """Waits until every member has been listed or found unreachable; False when `timeout` seconds did not do."""
        return await self._membership.ready(timeout)

    # -- lookups -----------------------------------------------------------------------------------------------------
    @property
    def nodes(self) -> dict[str, Node]:
        """By id. To be read only."""
        return self._membership.nodes

    @property
    def totals(self) -> Totals:
        return self._catalog.totals

    def node(self, ref: str) -> Node | None:
        """By id or name."""
        return self._membership.find(ref)

    def container(self, ref: str) -> Entry:
        """By full id, name, unique id prefix, `node/name` or `node/prefix`.

        Raises NotFound `No such container: …`, BadRequest `multiple IDs found with provided prefix: …`.
        """
        return self._catalog.index.find(ref, self._membership.id_of)

    def find(self, ref: str) -> Entry | None:
        """As `container`, None instead of NotFound."""
        try:
            return self.container(ref)
        except NotFound:
            return None

    async def resolve(self, ref: str) -> Entry:
        """As `container`, by the miss path before NotFound."""
        entry = self.find(ref) or await self.miss(ref)
        return entry if entry is not None else self.container(ref)

    def entries(self, all: bool = True) -> Iterator[Entry]:
        """Newest first; without `all` only running, paused and restarting ones. Changes while iterating may show."""
        return self._catalog.entries(all)

    def entries_named(self, name: str) -> tuple[Entry, ...]:
        """All containers that their engines call so."""
        return self._catalog.index.named(name)

    def chunks(self, all: bool = False) -> Iterator[bytes]:
        """The body of an unfiltered list, one page a piece: `[…`, `,…`, `]` and a line end."""
        return self._catalog.chunks(all, self.clock())

    def __len__(self) -> int:
        """Containers."""
        return len(self._catalog)

    # -- truth -------------------------------------------------------------------------------------------------------
    def _monitor(self, node_id: str) -> Monitor:
        monitor = self._membership.monitors.get(node_id)
        if monitor is None:
            raise EngineUnreachable(f"node {node_id} is not a member of this cluster")
        return monitor

    async def refresh(self, node_id: str, container_id: str, *, agrees: Agrees = lambda _: True) -> Entry | None:
        """The engine's word, asked for after this call began. None when the container is gone.

        An engine wakes waiters, and answers a kill, some milliseconds before its own list shows the end: `agrees` says
        whether an entry shows what the caller knows to have happened; the engine is asked again, for 0.8 s at most.

        Raises EngineUnreachable, or EngineFailed when the engine refused to answer.
        """
        return await self._monitor(node_id).refresh(container_id, agrees)

    def gone(self, node_id: str, container_id: str) -> None:
        """The engine has said that it removed this container."""
        if node_id in self._membership.monitors:
            self._monitor(node_id).gone(container_id)

    async def relist(self, node_id: str) -> None:
        """Lists all containers of a node again. Raises EngineUnreachable, EngineFailed."""
        await self._monitor(node_id).relist()

    async def refresh_images(self, node_id: str) -> None:
        """Lists again; returns when a list that started after this call is in. Raises EngineUnreachable."""
        await self._monitor(node_id).objects.images.fresh()

    async def refresh_volumes(self, node_id: str) -> None:
        """As `refresh_images`."""
        await self._monitor(node_id).objects.volumes.fresh()

    async def refresh_networks(self, node_id: str) -> None:
        """As `refresh_images`."""
        await self._monitor(node_id).objects.networks.fresh()

    async def miss(self, ref: str) -> Entry | None:
        """What another proxy may have made a moment ago, by 64-hex id or name; None when nobody has it."""
        return await self._miss.container(ref)

    # -- what nobody can list ----------------------------------------------------------------------------------------
    async def find_exec(self, exec_id: str) -> Node | None:
        """The node of an exec: remembered from events and `note_exec`, else asked of all healthy engines."""
        node_id = self._lately.execs.get(exec_id)
        known = self.nodes.get(node_id) if node_id is not None else None
        if known is None:
            known = await self._miss.exec(exec_id)
            if known is not None:
                self.note_exec(exec_id, known.id)
        return known

    def note_exec(self, exec_id: str, node_id: str) -> None:
        self._lately.execs.put(exec_id, node_id)

    def exit_code(self, container_id: str) -> int | None:
        """Of a container that ended lately, even when it is removed by now."""
        return self._lately.exits.get(container_id)

    # -- changes -----------------------------------------------------------------------------------------------------
    def on_change(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Told of every entry that appeared, changed or went; returns its unsubscribing."""
        return self._catalog.listen(listener)

    def on_node(self, listener: Callable[[Node], None]) -> Callable[[], None]:
        """Told whenever a node came, went, was met or listed, or its health changed; returns its unsubscribing."""
        return self._membership.listen(listener)

    def _claim_changed(self, changed: Changed) -> None:
        """Somebody else may hold a name now."""
        names = {changed.path[0]} if len(changed.path) == 1 else set()
        if not names:
            names = {held.value.name for held in (changed.old, changed.new) if held is not None}
        for name in names:
            self._catalog.rename(name)

    def _network_changed(self, changed: Changed) -> None:
        """The cluster announces its networks itself: their copies come and go with their users."""
        if (changed.old is None) == (changed.new is None):
            return
        held = changed.new or changed.old
        if held is not None and held.value.mode != LOCAL and self.records.cache.lost_since is None:
            action = "create" if changed.new is not None else "destroy"
            attributes = {"name": held.value.name, "type": driver_of(held.value)}
            self.events.announce("network", action, changed.path[0], attributes)
