"""Which engines there are: the store's members, each as a node with a monitor of its own.

A member is durable: its node leaves only when its record does, whatever becomes of the engine or the agent. A moved
engine (another address) gets a new client and is met again; its entries stay until the next list. Names are unique
here: a second member of one name is shown with a suffix. A monitor that fails is logged and begun anew.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from swarmproxy.cluster.catalog import Catalog
from swarmproxy.cluster.events import EventHub
from swarmproxy.cluster.health import State
from swarmproxy.cluster.lately import Lately
from swarmproxy.cluster.monitor import Monitor
from swarmproxy.cluster.node import Node, address_host
from swarmproxy.cluster.records import Changed, Records
from swarmproxy.engine.client import Engine
from swarmproxy.model import keys
from swarmproxy.model.records import Member, Network

logger = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between looks at how late our own loop is."""
LATE = 0.5
"""Seconds of lateness after which silence is not held against an engine."""
FORGIVING = 3.0
"""Seconds for which it is not: calls that began while we were late may still run out."""
RESTART = 1.0


class Membership:
    """Nodes and monitors by id, in step with the store."""

    def __init__(
        self,
        records: Records,
        *,
        catalog: Catalog,
        hub: EventHub,
        lately: Lately,
        open_engine: Callable[[str, str], Engine],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.nodes: dict[str, Node] = {}
        self.monitors: dict[str, Monitor] = {}
        self._records = records
        self._catalog = catalog
        self._hub = hub
        self._lately = lately
        self._open = open_engine
        self._clock = clock
        self._monotonic = monotonic
        self._rng = rng
        self._names: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._progress = asyncio.Event()
        self._listeners: list[Callable[[Node], None]] = []
        self._due = monotonic()
        self._forgiven = 0.0
        records.listen(keys.NODES, self._member_changed)
        records.listen(keys.AGENTS, self._agent_changed)
        records.listen(keys.NETNODES, self._copy_changed)
        for held in tuple(records.members.values()):
            self._add(held.value)

    # -- looking up --------------------------------------------------------------------------------------------------
    def id_of(self, ref: str) -> str | None:
        """Of a node's id or name."""
        return ref if ref in self.nodes else self._names.get(ref)

    def find(self, ref: str) -> Node | None:
        node_id = self.id_of(ref)
        return self.nodes[node_id] if node_id is not None else None

    def listen(self, listener: Callable[[Node], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    async def ready(self, timeout: float) -> bool:
        """Waits until each node has been listed or found unreachable."""
        try:
            async with asyncio.timeout(timeout):
                while not all(node.ready or _given_up(node) for node in self.nodes.values()):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        return True

    # -- running -----------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            for node_id in tuple(self.nodes):
                self._start(node_id)
            try:
                await self._watch_lateness()
            finally:
                self._group = None

    async def _watch_lateness(self) -> None:
        while True:
            self._due = self._monotonic() + TICK
            await asyncio.sleep(TICK)
            self.lagging()

    def lagging(self) -> bool:
        """Our loop was late within the last seconds: it is we who do not hear."""
        now = self._monotonic()
        if now - self._due > LATE:
            self._forgiven = now + FORGIVING
        return now < self._forgiven

    def _start(self, node_id: str) -> None:
        if self._group is not None and node_id not in self._tasks:
            self._tasks[node_id] = self._group.create_task(self._keep(node_id), name=f"node {node_id}")

    async def _keep(self, node_id: str) -> None:
        """Runs the monitor of one node until it leaves or moves."""
        monitor = self.monitors[node_id]
        try:
            while True:
                try:
                    await monitor.run()
                except Exception:
                    logger.exception("%s: its monitor failed and begins anew", monitor.node.name)
                await asyncio.sleep(RESTART)
                monitor.abandon()
                monitor = self.monitors[node_id] = self._monitor(monitor.node)
        finally:
            monitor.abandon()
            await monitor.engine.close()

    def _monitor(self, node: Node) -> Monitor:
        return Monitor(
            node,
            catalog=self._catalog,
            hub=self._hub,
            lately=self._lately,
            network=self._network,
            changed=self._changed,
            lagging=self.lagging,
            clock=self._clock,
            monotonic=self._monotonic,
            rng=random.Random(self._rng.random()),
        )

    def _network(self, cluster: str) -> Network | None:
        held = self._records.networks.get(cluster)
        return held.value if held is not None else None

    # -- members -----------------------------------------------------------------------------------------------------
    def _member_changed(self, changed: Changed) -> None:
        if changed.new is None:
            self._remove(changed.path[0])
        elif changed.path[0] not in self.nodes:
            self._add(changed.new.value)
        else:
            self._amend(self.nodes[changed.path[0]], changed.new.value)

    def _add(self, member: Member) -> None:
        name = self._unique(member.id, member.name or address_host(member.address))
        try:
            engine = self._open(name, member.address)
        except ValueError as error:
            logger.error("%s: %s", name, error)
            return
        node = Node(member, engine, name=name, now=self._monotonic())
        node.agent_alive = member.id in self._records.agents
        self.nodes[member.id] = node
        self._names[name] = member.id
        node.map_networks(self._records.copies_on(member.id))
        self.monitors[member.id] = self._monitor(node)
        self._start(member.id)
        self._tell(node)

    def _amend(self, node: Node, member: Member) -> None:
        before, node.member = node.member, member
        if member.address != before.address:
            self._move(node)
        shown = (node.name, before.vtep, before.address)
        self._rename(node)
        if shown != (node.name, member.vtep, member.address):
            self._catalog.rebuild(node)
        self._tell(node)

    def _move(self, node: Node) -> None:
        logger.info("%s: moved to %s", node.name, node.member.address)
        try:
            engine = self._open(node.name, node.member.address)
        except ValueError as error:
            logger.error("%s: %s", node.name, error)
            return
        self._stop(node.id)
        node.engine = engine
        self.monitors[node.id] = self._monitor(node)
        self._start(node.id)

    def _remove(self, node_id: str) -> None:
        node = self.nodes.get(node_id)
        if node is None:
            return
        self._stop(node_id)
        for container in tuple(node.containers):
            self._catalog.drop(node, container)
        self._catalog.totals.images_changed(node.images, ())
        self._catalog.totals.machine(node_id, 0, 0)
        self._hub.forget(node_id)
        del self.nodes[node_id]
        self._names = {name: one for name, one in self._names.items() if one != node_id}
        self._tell(node)

    def _stop(self, node_id: str) -> None:
        monitor = self.monitors.pop(node_id)
        task = self._tasks.pop(node_id, None)
        if task is not None:
            task.cancel()  # it closes the engine's client
        else:
            monitor.abandon()

    def _agent_changed(self, changed: Changed) -> None:
        node = self.nodes.get(changed.path[0])
        if node is not None:
            node.agent_alive = changed.new is not None
            if not node.agent_alive:
                node.agent_lost = self._monotonic()
            self._tell(node)

    def _copy_changed(self, changed: Changed) -> None:
        node = self.nodes.get(changed.path[1])
        if node is not None:
            self._remap(node)

    def _remap(self, node: Node) -> None:
        ids = node.map_networks(self._records.copies_on(node.id))
        if ids:
            self._catalog.rebuild(node, ids)

    # -- what monitors find ------------------------------------------------------------------------------------------
    def _changed(self, node: Node) -> None:
        if node.id not in self.nodes:
            return
        self._remap(node)
        self._catalog.totals.machine(node.id, node.cpus, node.memory)
        before = node.name
        self._rename(node)
        if node.name != before:
            self._catalog.rebuild(node)
        self._warn_doubles(node)
        self._tell(node)

    def _rename(self, node: Node) -> None:
        """The member's name, else the engine's own, else its host; a suffix where another has it."""
        wanted = node.member.name or str(node.info.get("Name") or "") or address_host(node.member.address)
        name = self._unique(node.id, wanted)
        if name != node.name:
            self._names.pop(node.name, None)
            self._names[name] = node.id
            node.name = node.engine.name = name

    def _unique(self, node_id: str, wanted: str) -> str:
        name, number = wanted, 1
        while self._names.get(name, node_id) != node_id:
            number += 1
            name = f"{wanted}-{number}"
        return name

    def _warn_doubles(self, node: Node) -> None:
        """A cloned host has the engine id of its model: two nodes all the same, but people should know."""
        identity = node.info.get("ID")
        doubles = [one for one in self.nodes.values() if identity and one.info.get("ID") == identity]
        for one in doubles if len(doubles) > 1 else ():
            others = ", ".join(sorted(other.name for other in doubles if other is not one))
            warning = f"the engine id {identity} is also that of {others}"
            if one.warning != warning:
                one.warning = warning
                logger.warning("%s: %s", one.name, warning)
        if len(doubles) <= 1:
            node.warning = ""

    def _tell(self, node: Node) -> None:
        self._progress.set()
        for listener in tuple(self._listeners):
            try:
                listener(node)
            except Exception:
                logger.exception("a listener of the nodes failed on %s", node.name)


def _given_up(node: Node) -> bool:
    return node.health.state is State.UNHEALTHY or (node.health.state is State.PENDING and node.health.delay > 0)
