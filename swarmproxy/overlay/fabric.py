"""Networks and endpoints of this node: what the engine's plugin calls do.

A network here is its devices plus a line in the state file; an endpoint is a veth, a line in that file and one record
`endpoints/NID/EID`, written in the same transaction that puts the endpoint into its address's key: an address that
another node has taken meanwhile is noticed, and the veth goes again. The record carries the names, so DNS is right at
the first packet. Everything is idempotent, and what is unknown is gone: an engine that cannot delete keeps its
containers from stopping.

CreateEndpoint only begins an endpoint and Join waits for it: in between the engine syncs its own files, and no process
of the container runs before Join has been answered. What goes wrong is Join's failure, after which the engine deletes
the endpoint.
Cost: 5 ms an endpoint, half of it the kernel, half the store; the engine waits for 2 of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from swarmproxy.discovery.store import KV, Absent, Compare, Delete, ModIs, Op, Put, Store, Unavailable
from swarmproxy.model import keys, options
from swarmproxy.model.codec import decode, encode
from swarmproxy.model.errors import BadRequest, DockerError, NotFound, StoreLost
from swarmproxy.model.records import Address, Alloc, Endpoint
from swarmproxy.overlay.follow import Mirror
from swarmproxy.overlay.ipam import Ipam
from swarmproxy.overlay.mtu import overlay_mtu
from swarmproxy.overlay.netlink import Netlink
from swarmproxy.overlay.peers import Peers
from swarmproxy.overlay.segments import Segments
from swarmproxy.overlay.state import LocalEndpoint, LocalNetwork, State
from swarmproxy.overlay.vxlan import container_side, dns_route_holder, mac_for, move_dns_route

__all__ = ["Fabric", "Marks", "NetworkCall"]

log = logging.getLogger(__name__)


BEHIND = 0.2
"""Seconds that a change of an endpoint may wait for others before it is written."""

Dressed = Callable[[bool], Awaitable[tuple[Endpoint, list[Compare]]]]


@dataclass(frozen=True, slots=True)
class Marks:
    """What the proxy put on an endpoint: its driver options."""

    token: str = ""
    name: str = ""
    aliases: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Marks:
        """Never raises: an option that is not what it should be counts as absent."""

        def text(key: str) -> str:
            value = given.get(key)
            return value if isinstance(value, str) else ""

        def structure(key: str, kind: Any) -> Any:
            with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
                return msgspec.json.decode(text(key) or "null", type=kind)
            return None

        return cls(
            text(options.ENDPOINT_TOKEN),
            text(options.ENDPOINT_NAME),
            structure(options.ENDPOINT_ALIASES, list[str] | None) or [],
            structure(options.ENDPOINT_LINKS, dict[str, str] | None) or {},
        )


@dataclass(frozen=True, slots=True)
class NetworkCall:
    """A network as CreateNetwork, or the engine's own inspect, describes it."""

    marks: Mapping[str, Any]
    subnets: Sequence[tuple[str, str]]
    """(CIDR, gateway address)."""
    internal: bool = False


class Fabric:
    """See the module. `node` is this node's id, `vtep` its underlay address."""

    def __init__(
        self,
        *,
        node: str,
        vtep: str,
        store: Store,
        mirror: Mirror,
        state: State,
        segments: Segments,
        peers: Peers,
        ipam: Ipam,
        netlink: Netlink,
    ) -> None:
        self.node = node
        self.state = state
        self.segments = segments
        self.ipam = ipam
        self._vtep = vtep
        self._store = store
        self._mirror = mirror
        self._peers = peers
        self._netlink = netlink
        self._saving = asyncio.Lock()
        self._unsaved = False
        self._closing = asyncio.Event()
        self._saver: asyncio.Task[None] | None = None
        self.making: dict[str, asyncio.Task[None]] = {}
        """Endpoints that were begun and not joined yet, by id."""
        self.recover: Callable[[str], Awaitable[NetworkCall | None]] | None = None
        """Asks the engine about one of its networks that the state file does not know."""

    async def save(self) -> None:
        """Writes the state file, to the disk: a network has changed (see `state`). Raises OSError."""
        async with self._saving:
            await asyncio.to_thread(self.state.save)

    def _save_soon(self) -> None:
        """Writes it behind the call: `restore` makes good what a killed agent did not write of its endpoints."""
        self._unsaved = True
        if self._saver is None or self._saver.done():
            self._saver = asyncio.create_task(self._save_changes(), name="save overlay.json")

    async def _save_changes(self) -> None:
        while self._unsaved:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), BEHIND)
            self._unsaved = False
            try:
                async with self._saving:
                    await asyncio.to_thread(self.state.save, synced=False)
            except OSError as error:
                log.error("the state file cannot be written: %s", error)

    async def close(self) -> None:
        """Ends when what was changed is written."""
        self._closing.set()
        if self._saver is not None:
            await self._saver

    # ------------------------------------------------------------------------------------------- networks
    async def create_network(self, network_id: str, call: NetworkCall) -> LocalNetwork:
        """Raises DockerError when the network is not one of the cluster's."""
        nid = str(call.marks.get(options.NETWORK_ID) or "")
        record = await self.ipam.network(nid) if nid else None
        if record is None:
            raise NotFound(f"network {nid or network_id} not found: {options.DRIVER} networks are made by the cluster")
        four = [pair for pair in call.subnets if ":" not in pair[0]]
        six = [pair for pair in call.subnets if ":" in pair[0]]
        if not four:
            raise BadRequest("an overlay needs an IPv4 subnet")
        asked = _number(call.marks.get(options.NETWORK_MTU)) or record.mtu
        spec = LocalNetwork(
            nid=nid,
            vni=_number(call.marks.get(options.NETWORK_VNI)) or record.vni,
            cidr=four[0][0],
            gateway=four[0][1] or str(ipaddress.ip_network(four[0][0])[1]),
            cidr6=six[0][0] if six else "",
            gateway6=(six[0][1] or str(ipaddress.ip_network(six[0][0])[1])) if six else "",
            mtu=overlay_mtu(asked=asked, underlays=self._peers.mtus, vtep=self._vtep),
            internal=call.internal,
            since=time.time(),
        )
        self.state.networks[network_id] = spec
        try:
            await self.open(spec)
        except BaseException:
            del self.state.networks[network_id]  # the engine will not call DeleteNetwork
            raise
        await self.save()
        return spec

    async def open(self, spec: LocalNetwork) -> None:
        """The overlay's devices and all its remote endpoints."""
        fresh = self.segments.get(spec.nid) is None
        await self.segments.ensure(spec)
        if fresh and self._mirror.lost_since is None:
            await self.segments.resync(spec.nid)

    async def delete_network(self, network_id: str) -> None:
        spec = self.state.networks.pop(network_id, None)
        if spec is None:
            return
        if not self.state.copies(spec.nid):
            await self.segments.drop(spec.nid)
            self._peers.forget(spec.nid)
        await self.save()

    async def _network(self, network_id: str) -> LocalNetwork:
        if spec := self.state.networks.get(network_id):
            if self.segments.get(spec.nid) is None:
                await self.open(spec)  # it could not be made when the agent started
            return spec
        call = await self.recover(network_id) if self.recover is not None else None
        if call is None:
            raise NotFound(f"network {network_id} not found")
        log.warning("network %s was unknown here; learnt again from the engine", network_id[:12])
        return await self.create_network(network_id, call)

    # ------------------------------------------------------------------------------------------- endpoints
    async def create_endpoint(
        self, network_id: str, endpoint_id: str, *, ip: str, ip6: str, mac: str, marks: Marks
    ) -> str:
        """The MAC of an endpoint that is being made from now on. Raises DockerError: there is no such network."""
        spec = await self._network(network_id)
        mac = (mac or mac_for(ip)).lower()
        if (begun := self.making.get(endpoint_id)) is not None and not begun.done():
            return self.state.endpoints[endpoint_id].mac
        self.state.endpoints[endpoint_id] = LocalEndpoint(
            network=network_id, nid=spec.nid, ip=ip, ip6=ip6, mac=mac, token=marks.token, since=time.time()
        )
        self.making[endpoint_id] = asyncio.create_task(self._make(endpoint_id, marks), name=f"make {endpoint_id[:12]}")
        return mac

    async def _make(self, endpoint_id: str, marks: Marks) -> None:
        """Devices and record. Raises DockerError or StoreLost, and then nothing is left but the address and the line.

        Side by side: the kernel and the store take 3 ms each, and either can be taken back.
        """
        local = self.state.endpoints[endpoint_id]
        nid = local.nid

        async def dressed(fresh: bool) -> tuple[Endpoint, list[Compare]]:
            names, container, same = await self._identity(marks, fresh=fresh)
            record = Endpoint(ip=local.ip, ip6=local.ip6, mac=local.mac, node=self.node, token=marks.token,
                              container=container, names=names, aliases=marks.aliases, links=marks.links)  # fmt: skip
            return record, same

        plugged = asyncio.ensure_future(self.segments.plug(nid, endpoint_id, local.mac))
        try:
            await self._register(nid, endpoint_id, dressed, alive=True)
            await plugged
        except BaseException:
            plugged.cancel()
            undo = (self.segments.unplug(nid, endpoint_id), self.withdraw(nid, endpoint_id))
            await asyncio.shield(asyncio.gather(plugged, *undo, return_exceptions=True))
            raise
        for ip in local.addresses:
            self.ipam.leases.pop((nid, ip), None)

    async def _identity(self, marks: Marks, *, fresh: bool) -> tuple[list[str], str, list[Compare]]:
        """The container's name as it is now (a rename does not reach the engine's driver options), its id, and what
        must hold of the store for that to be so."""
        if not marks.token:
            return [marks.name] if marks.name else [], "", []
        kv = await self._newest(keys.alloc(self.node, marks.token), fresh=fresh)
        alloc = decode(Alloc, kv.value) if kv is not None else None
        name = (alloc.name if alloc is not None else "") or marks.name
        container = alloc.container if alloc is not None else ""
        same: list[Compare] = [] if kv is None or fresh else [ModIs(kv.key, kv.mod_revision)]
        return [each for each in (name, container[:12]) if each], container, same

    async def _newest(self, key: str, *, fresh: bool) -> KV | None:
        """From the mirror, which saves a round trip; from the store when that has failed, or the mirror has none."""
        kv = None if fresh else self._mirror.get(key)
        return kv if kv is not None else await self._store_get(key)

    async def _store_get(self, key: str) -> KV | None:
        try:
            return await self._store.get(key)
        except Unavailable as error:
            raise StoreLost(f"no endpoint can be made while the cluster's store is away: {error}") from None

    async def _register(self, nid: str, endpoint_id: str, record: Dressed, *, alive: bool = False) -> None:
        """Address and endpoint in one transaction: what the mirror says is tried first, then what the store says.

        Args:
            record: (fresh) → the endpoint, and what must hold for it to be true.
            alive: the network's record must stand, too: its removal is decided by a transaction that sees no endpoint.
        """
        for fresh in (False, True):
            endpoint, compares = await record(fresh)
            if alive:
                compares.append(await self._stands(nid, fresh=fresh))
            ops: list[Op] = [Put(keys.endpoint(nid, endpoint_id), encode(endpoint))]
            owner = Address(node=self.node, endpoint=endpoint_id, token=endpoint.token, since=time.time())
            for ip in (each for each in (endpoint.ip, endpoint.ip6) if each):
                compares.append(await self._ours(nid, ip, endpoint_id, fresh=fresh))
                ops.append(Put(keys.address(nid, ip), encode(owner)))
            try:
                if (await self._store.txn(compares, ops)).ok:
                    return
            except Unavailable as error:
                raise StoreLost(f"no endpoint can be made while the cluster's store is away: {error}") from None
        raise DockerError("Address already in use")

    async def _stands(self, nid: str, *, fresh: bool) -> Compare:
        kv = await self._newest(keys.network(nid), fresh=fresh)
        if kv is None:
            raise NotFound(f"network {nid} not found")
        return ModIs(kv.key, kv.mod_revision)

    async def _ours(self, nid: str, ip: str, endpoint_id: str, *, fresh: bool) -> Compare:
        """What must hold of the address's key so that this endpoint may have it."""
        key = keys.address(nid, ip)
        lease = self.ipam.leases.get((nid, ip))
        if lease is not None and not fresh:
            return ModIs(key, lease.revision)
        kv = await self._store_get(key)
        if kv is None:
            return Absent(key)  # made without our IPAM, or given back behind our back: free either way
        held = decode(Address, kv.value)
        if held is None or held.node != self.node or held.endpoint not in ("", endpoint_id):
            raise DockerError("Address already in use")
        return ModIs(key, kv.mod_revision)

    async def remember(self, endpoint_id: str, local: LocalEndpoint, record: Endpoint) -> None:
        """Takes up a live endpoint whose state line or record was lost. Raises DockerError or StoreLost."""
        if local.sandbox and not local.route:
            with contextlib.suppress(OSError):
                local.route = await self._netlink.run(dns_route_holder(local.sandbox)) == local.mac
        self.state.endpoints[endpoint_id] = local
        self._save_soon()

        async def known(_: bool) -> tuple[Endpoint, list[Compare]]:
            return record, []

        await self._register(local.nid, endpoint_id, known)

    async def delete_endpoint(self, endpoint_id: str) -> None:
        """Veth, record and state line go; unknown is no error. The store away: reconcile takes the record later."""
        if making := self.making.pop(endpoint_id, None):
            await asyncio.wait({making})
            if not making.cancelled():
                making.exception()  # Join's to tell, if it was called
        local = self.state.endpoints.pop(endpoint_id, None)
        if local is None:
            return
        self._save_soon()
        results = await asyncio.gather(
            self.segments.unplug(local.nid, endpoint_id), self.withdraw(local.nid, endpoint_id), return_exceptions=True
        )
        for error in results:
            if isinstance(error, BaseException):
                log.warning("endpoint %s: %s; left for reconcile", endpoint_id[:12], error)

    async def withdraw(self, nid: str, endpoint_id: str) -> None:
        """Takes the endpoint's record away. Raises Unavailable."""
        if self._mirror.lost_since is None:
            await self._store.txn([], [Delete(keys.endpoint(nid, endpoint_id))])

    # ------------------------------------------------------------------------------------------- sandboxes
    async def join(self, endpoint_id: str, sandbox: str) -> tuple[str, bool]:
        """The device to take, and whether it brings the route to the DNS address: one endpoint a sandbox does.

        Raises DockerError or StoreLost: the endpoint could not be made.
        """
        local = self.state.endpoints.get(endpoint_id)
        if local is None:
            raise NotFound(f"endpoint {endpoint_id} not found")
        if making := self.making.get(endpoint_id):
            await asyncio.shield(making)
            self.making.pop(endpoint_id, None)
        others = [each for key, each in self.state.endpoints.items() if key != endpoint_id and each.sandbox == sandbox]
        local.sandbox, local.route = sandbox, not any(each.route for each in others)
        self._save_soon()
        return container_side(endpoint_id), local.route

    async def leave(self, endpoint_id: str) -> None:
        """Hands the DNS route on to another endpoint of the sandbox; never raises for a sandbox that is gone."""
        local = self.state.endpoints.get(endpoint_id)
        if local is None or not local.sandbox:
            return
        sandbox, had = local.sandbox, local.route
        local.sandbox, local.route = "", False
        heir = next((each for each in self.state.endpoints.values() if each.sandbox == sandbox), None)
        if had and heir is not None:
            try:
                await self._netlink.run(move_dns_route(sandbox, heir.mac))
                heir.route = True
            except (LookupError, FileNotFoundError):
                pass  # the whole sandbox is going
            except Exception as error:
                log.warning("DNS route of %s not moved: %s", sandbox, error)
        self._save_soon()


def _number(value: Any) -> int:
    try:
        return int(value or 0)
    except (TypeError, ValueError):
        return 0
