"""Addresses, unique in the cluster: every one handed out is a key `ipam/NID/IP`, created only if absent.

The engine asks for an address before it names the endpoint, so a key is first only "this node's"; CreateEndpoint writes
the endpoint and token into it. Which address to try comes from a mirror of the store, which may be some milliseconds
old: a try that loses costs one round trip and goes on further round the circle, further the more it loses, so that
nodes starting containers at once spread out. Gateway and auxiliary addresses are the same on every node and are
answered without being allocated.
Cost: one store transaction an address (2.6 ms on etcd), which `ahead` mostly spares the start. The store away: no new
address, told at once.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from swarmproxy.discovery.store import Absent, Delete, Event, ModIs, Put, Store, Unavailable
from swarmproxy.model import keys
from swarmproxy.model.codec import decode, encode
from swarmproxy.model.errors import DockerError, NotFound, StoreLost
from swarmproxy.model.records import Address, Network, Subnet
from swarmproxy.overlay.ahead import Ahead
from swarmproxy.overlay.follow import Mirror, follow
from swarmproxy.overlay.pool import AddressError, Pool

__all__ = ["Ipam", "Lease"]

IN_USE = "Address already in use"
EXHAUSTED = "no available IPv{version} addresses on this network's address pools: {name} ({nid})"
_TRIES = 64
ROOM = 64
"""Free addresses that a subnet must have for some to be held ahead."""


@dataclass(frozen=True, slots=True)
class Lease:
    """An address that this node got and that no endpoint carries yet."""

    revision: int
    since: float
    """Unix seconds."""


@dataclass(slots=True)
class _Taken:
    """The addresses of one subnet family in one network, as the mirror knows them."""

    values: set[int] = field(default_factory=set)
    cursor: int = -1
    revision: int = 0


class Ipam:
    """`holds(nid, ip)` says whether an endpoint of this node has the address."""

    def __init__(
        self,
        *,
        store: Store,
        mirror: Mirror,
        node: str,
        holds: Callable[[str, str], bool],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._node = node
        self._holds = holds
        self._now = now
        self._taken: dict[tuple[str, int], _Taken] = {}
        self.leases: dict[tuple[str, str], Lease] = {}
        self._stop = follow(mirror, keys.IPAM, self._heard)
        self._ahead = Ahead(mirror=mirror, node=node, claim=self._hold, give_back=self.release)

    def close(self) -> None:
        self._stop()
        self._ahead.close()

    # ------------------------------------------------------------------------------------------- mirror
    def _heard(self, event: Event) -> None:
        _, nid, ip = keys.parts(event.kv.key)
        try:
            version, value = _number(ip)
        except ValueError:
            return
        taken = self._taken.setdefault((nid, version), _Taken())
        if event.kind == "delete":
            taken.values.discard(value)
            return
        taken.values.add(value)
        if event.kv.create_revision > taken.revision:
            taken.cursor, taken.revision = value, event.kv.create_revision

    async def network(self, nid: str) -> Network | None:
        """The network's record, from the mirror or, when it is younger than that, from the store."""
        kv = self._mirror.get(keys.network(nid)) or await self._store.get(keys.network(nid))
        return decode(Network, kv.value) if kv is not None else None

    async def _pool(self, nid: str, cidr: str) -> tuple[Pool, str]:
        """The subnet with what its record adds to it, and the network's name."""
        record = await self.network(nid)
        if record is None:
            raise NotFound(f"network {nid} not found")
        subnet = next((each for each in record.subnets if _same(each.cidr, cidr)), Subnet(cidr=cidr))
        try:
            return Pool(subnet), record.name
        except AddressError as error:
            raise DockerError(str(error)) from None

    # ------------------------------------------------------------------------------------------- requests
    async def gateway(self, nid: str, cidr: str, asked: str) -> str:
        """The gateway's address with its prefix length: the same on every node, and nobody else's."""
        try:
            pool = Pool(Subnet(cidr=cidr)) if asked else (await self._pool(nid, cidr))[0]
            return pool.with_prefix(pool.parse(asked) if asked else int(pool.gateway))
        except AddressError as error:
            raise DockerError(str(error)) from None

    async def request(self, nid: str, cidr: str, asked: str = "") -> str:
        """An address with its prefix length, this node's from now on.

        Raises DockerError: the one asked for is in use, or none is free. Raises StoreLost.
        """
        if self._mirror.lost_since is not None:
            raise StoreLost("no address can be given while the cluster's store is away")
        try:
            pool, name = await self._pool(nid, cidr)
            if asked:
                return await self._claim(nid, pool, pool.parse(asked))
            return self._held(nid, pool) or await self._next(nid, pool, name)
        except AddressError as error:
            raise DockerError(str(error)) from None
        except Unavailable as error:
            raise StoreLost(f"no address can be given: {error}") from None

    def _held(self, nid: str, pool: Pool) -> str:
        """An address asked for ahead that is still ours, with its prefix length; "" when there is none."""
        while pool.network.version == 4 and (ip := self._ahead.take(nid)):
            lease, kv = self.leases.get((nid, ip)), self._mirror.get(keys.address(nid, ip))
            if lease is not None and (kv is None or kv.mod_revision <= lease.revision) and pool.contains(ip):
                return pool.with_prefix(pool.parse(ip))
        return ""

    async def _hold(self, nid: str) -> str:
        """For `Ahead`. Raises StoreError or DockerError."""
        record = await self.network(nid)
        subnet = next((each for each in record.subnets if ":" not in each.cidr), None) if record is not None else None
        if record is None or subnet is None or self._mirror.lost_since is not None:
            return ""
        pool = Pool(subnet)
        if pool.size - len(self._taken.setdefault((nid, 4), _Taken()).values) < ROOM:
            return ""
        return (await self._next(nid, pool, record.name, ahead=True)).partition("/")[0]

    async def _next(self, nid: str, pool: Pool, name: str, *, ahead: bool = False) -> str:
        version = pool.network.version
        taken = self._taken.setdefault((nid, version), _Taken())
        refreshed = False
        for lost in range(_TRIES):
            found = pool.following(taken.cursor, taken.values)
            if found is None and not refreshed:
                await self._refresh(nid, version)  # the mirror may not have heard of a release yet
                refreshed, found = True, pool.following(taken.cursor, taken.values)
            if found is None:
                break
            if await self._create(nid, pool.text(found), ahead=ahead):
                taken.values.add(found)
                taken.cursor = found
                return pool.with_prefix(found)
            taken.values.add(found)
            taken.cursor = found + random.randint(0, min(2**lost, 32) - 1)
        raise DockerError(EXHAUSTED.format(version=version, name=name, nid=nid))

    async def _refresh(self, nid: str, version: int) -> None:
        _, found = await self._store.list(keys.addresses(nid))
        numbers = [_number(keys.parts(kv.key)[2]) for kv in found]
        self._taken.setdefault((nid, version), _Taken()).values = {value for kind, value in numbers if kind == version}

    async def _claim(self, nid: str, pool: Pool, value: int) -> str:
        """Exactly this address: `--ip`."""
        ip = pool.text(value)
        if value in pool.reserved:
            if ip != str(pool.gateway):
                return pool.with_prefix(value)  # an auxiliary address, reserved once on every node
            raise DockerError(IN_USE)
        mine = self._ahead.drop(nid, ip) and (nid, ip) in self.leases
        if not mine and not await self._create(nid, ip) and not await self._take_over(nid, ip):
            raise DockerError(IN_USE)
        self._taken.setdefault((nid, pool.network.version), _Taken()).values.add(value)
        return pool.with_prefix(value)

    async def _create(self, nid: str, ip: str, *, ahead: bool = False) -> bool:
        key = keys.address(nid, ip)
        since = self._now()
        value = encode(Address(node=self._node, since=since, ahead=ahead))
        try:
            result = await self._store.txn([Absent(key)], [Put(key, value)])
            ok, revision = result.ok, result.revision
        except Unavailable:  # it may have been written: look, once
            kv = await self._store.get(key)
            if kv is None:
                raise
            ok, revision = kv.value == value, kv.mod_revision
        if ok:
            self.leases[nid, ip] = Lease(revision, since)
        return ok

    async def _take_over(self, nid: str, ip: str) -> bool:
        """A leftover, ours with nothing behind it, or a removed member's; or one that is only held ahead."""
        key = keys.address(nid, ip)
        kv = await self._store.get(key)
        if kv is None:
            return await self._create(nid, ip)
        record = decode(Address, kv.value)
        if record is None:
            return False
        if record.node == self._node:
            if self._holds(nid, ip) or (nid, ip) in self.leases:
                return False
        elif not record.ahead and await self._store.get(keys.node(record.node)) is not None:
            return False
        since = self._now()
        result = await self._store.txn(
            [ModIs(key, kv.mod_revision)], [Put(key, encode(Address(node=self._node, since=since)))]
        )
        if result.ok:
            self.leases[nid, ip] = Lease(result.revision, since)
        return result.ok

    # ------------------------------------------------------------------------------------------- release
    async def release(self, nid: str, ip: str) -> None:
        """Gives an address of this node back; one that is not this node's is left alone. Never raises for the store:
        reconcile gives back what stayed."""
        self.leases.pop((nid, ip), None)
        if self._mirror.lost_since is not None:
            return
        key = keys.address(nid, ip)
        try:
            for fresh in (False, True):
                kv = await self._store.get(key) if fresh else self._mirror.get(key)
                record = decode(Address, kv.value) if kv is not None else None
                if kv is None or record is None or record.node != self._node:
                    continue
                if (await self._store.txn([ModIs(key, kv.mod_revision)], [Delete(key)])).ok:
                    return
        except Unavailable:
            return


def _number(ip: str) -> tuple[int, int]:
    address = ipaddress.ip_address(ip)
    return address.version, int(address)


def _same(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_network(one, strict=False) == ipaddress.ip_network(other, strict=False)
    except ValueError:
        return False
