"""Keeps this node true to its engine and its store: on every connect to the engine, after every outage of the store,
and once a minute.

Nothing is taken away while engine or store cannot be listed. What plugin calls missed (they fail while the agent is
down) is made up here: leaked endpoints, addresses, veths, networks that are gone from the cluster, names of renamed
containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from swarmproxy.discovery.cache import Cache
from swarmproxy.discovery.store import Delete, Event, ModIs, Store, StoreError, Unavailable
from swarmproxy.model import keys, options
from swarmproxy.model.codec import decode
from swarmproxy.model.errors import DockerError
from swarmproxy.model.records import Address, Endpoint
from swarmproxy.overlay.fabric import Fabric, NetworkCall
from swarmproxy.overlay.localengine import EngineAway, LocalEngine, NetworkShape
from swarmproxy.overlay.names import rename
from swarmproxy.overlay.reconcile import GRACE, Found, plan
from swarmproxy.overlay.restore import restore

__all__ = ["Attendant"]

log = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds between two looks when nothing happens."""
SETTLE = 1.0
"""Seconds between a hint and the look, so that a burst of them costs one look."""
_RETRY = 1.0


class Attendant:
    """`connected` is awaited whenever the engine's events begin to flow."""

    def __init__(
        self,
        *,
        node: str,
        store: Store,
        cache: Cache,
        engine: LocalEngine,
        fabric: Fabric,
        connected: Callable[[], Awaitable[None]],
    ) -> None:
        self._node = node
        self._store = store
        self._cache = cache
        self._engine = engine
        self._fabric = fabric
        self._connected = connected
        self._hint = asyncio.Event()
        self._strays: set[str] = set()
        self._away = ""
        fabric.recover = self._recover
        cache.on_state(self._store_state)
        cache.listen(keys.NETWORKS, self._network_gone)
        cache.listen(keys.ENDPOINTS, self._record_gone)

    def _store_state(self) -> None:
        if self._cache.lost_since is None:
            self._hint.set()

    def _network_gone(self, event: Event) -> None:
        if event.kind == "delete":
            self._hint.set()

    def _record_gone(self, event: Event) -> None:
        if event.kind == "delete" and keys.parts(event.kv.key)[2] in self._fabric.state.endpoints:
            self._hint.set()  # not by us, who forget the endpoint first

    async def identity(self) -> tuple[str, str]:
        """The engine's id and the host's name; empty while it does not answer."""
        try:
            found = await self._engine.identity()
        except EngineAway:
            return "", ""
        return found.id, found.name

    async def run(self) -> None:
        """Ends by cancellation."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._events())
            group.create_task(self._looks())

    # ------------------------------------------------------------------------------------------- events
    async def _events(self) -> None:
        while True:
            try:
                async for event in self._engine.events():
                    if not event.Type:
                        await self._back()
                    elif event.Action == "connect" and event.Type == "network":
                        await self._named(event.Actor.Attributes.get("container", ""), network_id=event.Actor.ID)
                    elif event.Action == "rename" and event.Type == "container":
                        await self._named(event.Actor.ID)
            except EngineAway as error:
                if not self._away:
                    self._away = str(error)
                    log.warning("the engine does not answer: %s", error)
            except (StoreError, DockerError) as error:
                log.warning("an event of the engine was not followed: %s", error)
                self._hint.set()
            await asyncio.sleep(_RETRY)

    async def _back(self) -> None:
        if self._away:
            log.info("the engine answers again")
            self._away = ""
        await self._connected()
        self._hint.set()

    async def _named(self, container_id: str, network_id: str = "") -> None:
        """Brings the names of a container's endpoints up to date; on a connect only where they are not known yet."""
        if network_id and not any(each.network == network_id and not self._known(key, each.nid)
                                  for key, each in self._fabric.state.endpoints.items()):  # fmt: skip
            return
        container = await self._engine.container(container_id) if container_id else None
        if container is None:
            return
        for settings in (container.NetworkSettings.Networks or {}).values():
            local = self._fabric.state.endpoints.get(settings.EndpointID)
            if local is not None:
                await rename(self._store, local.nid, settings.EndpointID, container=container.Id,
                             name=container.Name.lstrip("/"), aliases=settings.Aliases or [])  # fmt: skip

    def _known(self, endpoint_id: str, nid: str) -> bool:
        kv = self._cache.get(keys.endpoint(nid, endpoint_id))
        record = decode(Endpoint, kv.value) if kv is not None else None
        return record is not None and bool(record.container and record.names)

    # ------------------------------------------------------------------------------------------- looks
    async def _looks(self) -> None:
        pause = EVERY
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._hint.wait()
            await asyncio.sleep(SETTLE)
            self._hint.clear()
            pause = EVERY
            try:
                pause = GRACE if await self.look() else EVERY
            except (EngineAway, Unavailable) as error:
                log.info("reconcile put off: %s", error)
            except Exception:
                log.exception("reconcile failed")

    async def look(self) -> bool:
        """A whole look, and what follows from it; True when something is still too young to be judged.

        Raises EngineAway or Unavailable: then nothing was taken away.
        """
        if self._cache.lost_since is not None:
            return False
        shapes = await self._engine.networks(options.DRIVER)
        await self._adopt(shapes)
        await self._restore(shapes)
        found = await self._found(shapes)
        todo = plan(found)
        fabric = self._fabric
        for endpoint_id in todo.endpoints:
            log.info("endpoint %s is not the engine's any more", endpoint_id[:12])
            await fabric.delete_endpoint(endpoint_id)
        for nid, endpoint_id in todo.records:
            log.info("record of endpoint %s has nothing behind it", endpoint_id[:12])
            await fabric.withdraw(nid, endpoint_id)
        for nid, ip in todo.addresses:
            await self._give_back(nid, ip, found.addresses[nid, ip])
        for network_id in todo.remove:
            await self._remove_network(network_id)
        for network_id in todo.forget:
            log.info("network %s is not the engine's any more", network_id[:12])
            await fabric.delete_network(network_id)
        for nid in fabric.segments.carried:
            if changed := await fabric.segments.resync(nid):
                log.warning("overlay %s: %d forwarding entries were wrong", nid[:12], changed)
        known = {key: each.nid for key, each in fabric.state.endpoints.items()}
        if swept := await fabric.segments.sweep(known, self._strays):
            log.info("%d stray interfaces deleted", swept)
        await self._names(shapes)
        return todo.later

    async def _found(self, shapes: list[NetworkShape]) -> Found:
        _, addresses = await self._store.list(keys.IPAM)
        _, records = await self._store.list(keys.ENDPOINTS)
        _, networks = await self._store.list(keys.NETWORKS)
        held = {(parts[1], parts[2]): record for kv in addresses
                if (record := decode(Address, kv.value)) is not None and record.node == self._node
                for parts in (keys.parts(kv.key),)}  # fmt: skip
        mine = {(parts[1], parts[2]): entry for kv in records
                if (entry := decode(Endpoint, kv.value)) is not None and entry.node == self._node
                for parts in (keys.parts(kv.key),)}  # fmt: skip
        attached = [(key, each) for shape in shapes for key, each in (shape.Containers or {}).items()]
        return Found(
            now=time.time(),
            live=frozenset(each.EndpointID for key, each in attached if not key.startswith("ep-")),
            engine_networks=frozenset(shape.Id for shape in shapes),
            cluster_networks=frozenset(keys.parts(kv.key)[1] for kv in networks),
            networks=dict(self._fabric.state.networks),
            endpoints=dict(self._fabric.state.endpoints),
            addresses=held,
            records=mine,
            busy=frozenset(shape.Id for shape in shapes if shape.Containers),
        )

    async def _adopt(self, shapes: list[NetworkShape]) -> None:
        """Networks that the engine has and the state file lost."""
        for shape in shapes:
            if shape.Id not in self._fabric.state.networks:
                with contextlib.suppress(DockerError):
                    await self._fabric.create_network(shape.Id, _call(shape))
                    log.warning("network %s was unknown here; learnt again from the engine", shape.Name)

    async def _restore(self, shapes: list[NetworkShape]) -> None:
        """Endpoints that the engine has, and the state file or the store lost."""
        recorded = {(parts[1], parts[2]) for kv in (await self._store.list(keys.ENDPOINTS))[1]
                    for parts in (keys.parts(kv.key),)}  # fmt: skip
        try:
            await restore(self._fabric, self._engine, shapes, recorded)
        except DockerError as error:
            log.error("an endpoint was not restored: %s", error)

    async def _recover(self, network_id: str) -> NetworkCall | None:
        try:
            shape = await self._engine.network(network_id)
        except EngineAway:
            return None
        return _call(shape) if shape is not None else None

    async def _give_back(self, nid: str, ip: str, record: Address) -> None:
        key = keys.address(nid, ip)
        kv = await self._store.get(key)
        if kv is not None and decode(Address, kv.value) == record:
            log.info("address %s of network %s has nothing behind it", ip, nid[:12])
            await self._store.txn([ModIs(key, kv.mod_revision)], [Delete(key)])
        self._fabric.ipam.leases.pop((nid, ip), None)

    async def _remove_network(self, network_id: str) -> None:
        """The cluster's network is gone: the engine's copy goes (which calls DeleteNetwork here), then its record."""
        nid = self._fabric.state.networks[network_id].nid
        if await self._engine.remove_network(network_id):
            log.info("network %s is gone from the cluster; removed here", nid[:12])
            await self._fabric.delete_network(network_id)
            await self._store.txn([], [Delete(keys.netnode(nid, self._node))])

    async def _names(self, shapes: list[NetworkShape]) -> None:
        """Renames that happened while nobody listened."""
        for shape in shapes:
            for container_id, attached in (shape.Containers or {}).items():
                local = self._fabric.state.endpoints.get(attached.EndpointID)
                kv = self._cache.get(keys.endpoint(local.nid, attached.EndpointID)) if local is not None else None
                record = decode(Endpoint, kv.value) if kv is not None else None
                if record is None or local is None or container_id.startswith("ep-"):
                    continue
                if record.container != container_id or record.names[:1] != [attached.Name]:
                    await rename(self._store, local.nid, attached.EndpointID, container=container_id,
                                 name=attached.Name)  # fmt: skip


def _call(shape: NetworkShape) -> NetworkCall:
    configured = shape.IPAM.Config or [] if shape.IPAM is not None else []
    return NetworkCall(
        shape.Options or {},
        [(each.Subnet, each.Gateway.partition("/")[0]) for each in configured if each.Subnet],
        shape.Internal,
    )
