"""Claims: a container's name, its share of a node and the ownership of its volumes, taken before an engine is asked.

One transaction takes all of it: `Absent(names/NAME)`, `NoneNewer(alloc/N/, seen)` and one compare a volume. The range
compare guards sums (CPU, memory, ports) without a counter: whatever was added to the node since we looked makes the
transaction fail, and we look again. The networks are compared, too: the plan was made of what is known here, and who
removes one meanwhile makes it `Outdated`. What a proxy takes hangs on its session's lease until the engine has made the
container; `bind` takes it off the lease with `ModIs`. So a proxy that dies in between leaves nothing but a container
with a token, which adoption finds.

A name that is taken is asked after at its owner: an engine that says 404 has lost the container, and the key is taken
over; only otherwise the client reads Docker's 409. Cost of a take: one store round trip, ~1 ms, plus one a lost race.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from swarmproxy.discovery.store import KV, Absent, Compare, Delete, ModIs, NoneNewer, Op, Put
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model import codec, keys
from swarmproxy.model.errors import Conflict, DockerError, EngineUnreachable, ServerError, StoreLost
from swarmproxy.model.records import BOUND, PENDING, Alloc, Name, Volume
from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.place import Placement

log = logging.getLogger(__name__)

ATTEMPTS = 40
PENDING_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What one create wants to hold. `volumes` are names that no node owns yet, `stands` (key, revision) of what else
    the plan was made of."""

    token: str
    name: str
    alloc: Alloc
    volumes: tuple[str, ...] = ()
    stands: tuple[tuple[str, int], ...] = ()


class Outdated(ServerError):
    """What the plan was made of has changed: it must be made anew."""


@dataclass(slots=True)
class Claim:
    """What is held. `revision` is that of every key of the claim; the volumes are those that `drop` gives up."""

    token: str
    name: str
    node: str
    alloc: Alloc
    revision: int
    volumes: list[str] = field(default_factory=list)
    new_volumes: list[str] = field(default_factory=list)


def taken(name: str, holder: str, node: str = "") -> Conflict:
    return Conflict(
        f'Conflict. The container name "/{name}" is already in use by container "{holder}". '
        "You have to remove (or rename) that container to be able to reuse that name.",
        node=node,
    )


async def take(
    cluster: Cluster,
    wish: Wish,
    choose: Callable[[], Placement],
    prepare: Callable[[NodeSnapshot], Awaitable[None]],
) -> Claim:
    """Places and claims, or raises.

    Args:
        choose: places on a fresh snapshot; no I/O. Raises NoNode.
        prepare: brings to the node what the create needs (its image), before anything is held.

    Raises:
        Conflict: the name is taken. NoNode: nowhere to go. StoreLost: no store. Outdated.
    """
    take_over: int | None = None
    for attempt in range(ATTEMPTS):
        node = choose().candidates[0]
        await prepare(node)
        async with cluster.locks[node.id]:
            seen = cluster.cache.revision
            if choose().candidates[0].id != node.id:
                continue
            claim = await _try(cluster, wish, node.id, seen, take_over)
        if claim is not None:
            return claim
        take_over = await settle_name(cluster, wish.name)
        await _still(cluster, wish)
        await asyncio.sleep(random.uniform(0, 0.002 * min(attempt, 10)))
    raise ServerError(f"no suitable node: {ATTEMPTS} attempts lost the race for a place")


async def _still(cluster: Cluster, wish: Wish) -> None:
    for key, revision in wish.stands:
        kv = await cluster.reach(cluster.store.get(key))
        if kv is None or kv.mod_revision != revision:
            await cluster.settle()
            raise Outdated(f"{keys.parts(key)[0]} changed while the container was being placed")


async def _try(cluster: Cluster, wish: Wish, node: str, seen: int, take_over: int | None) -> Claim | None:
    lease = cluster.lease()
    alloc_key, name_key = keys.alloc(node, wish.token), keys.name(wish.name)
    compares: list[Compare] = [
        Absent(name_key) if take_over is None else ModIs(name_key, take_over),
        Absent(alloc_key),
        NoneNewer(keys.allocs(node), seen),
        *(ModIs(key, revision) for key, revision in wish.stands),
    ]
    ops: list[Op] = [
        Put(name_key, codec.encode(Name(token=wish.token, node=node)), lease),
        Put(alloc_key, codec.encode(wish.alloc), lease),
    ]
    claim = Claim(token=wish.token, name=wish.name, node=node, alloc=wish.alloc, revision=0)
    there = cluster.view.nodes[node].volumes  # data that was there before us: ours to own, not to give up
    for volume in wish.volumes:
        held = cluster.records.volumes.get(volume)
        if held is None:
            record = Volume(name=volume, owner=node, created=_now(), implicit=True)
            compares.append(Absent(keys.volume(volume)))
            ops.append(Put(keys.volume(volume), codec.encode(record)))
            if volume not in there:
                claim.new_volumes.append(volume)
        elif not held.value.owner:
            compares.append(ModIs(keys.volume(volume), held.revision))
            ops.append(Put(keys.volume(volume), codec.encode(replace_owner(held.value, node))))
            if volume not in there:
                claim.volumes.append(volume)
        elif held.value.owner != node:
            return None
    try:
        result = await cluster.txn(compares, ops)
    except StoreLost:  # it may hold all the same
        with contextlib.suppress(DockerError):
            await drop(cluster, claim)
        raise
    if not result.ok:
        return None
    claim.revision = result.revision
    return claim


def replace_owner(volume: Volume, owner: str) -> Volume:
    return msgspec.structs.replace(volume, owner=owner)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


async def settle_name(cluster: Cluster, name: str) -> int | None:
    """None: the name is free; a revision: its holder is gone, take the key over there. Raises Conflict otherwise."""
    deadline = time.monotonic() + PENDING_SECONDS
    while True:
        kv = await cluster.reach(cluster.store.get(keys.name(name)))
        if kv is None:
            return None
        held = codec.decode(Name, kv.value) or Name()
        alloc_kv = await cluster.reach(cluster.store.get(keys.alloc(held.node, held.token)))
        alloc = codec.decode(Alloc, alloc_kv.value) if alloc_kv else None
        if alloc is None:
            return kv.mod_revision
        if alloc.state == PENDING:
            # somebody is making it right now, or died in the middle: its lease decides within seconds
            if time.monotonic() > deadline:
                raise taken(name, "pending creation")
            await asyncio.sleep(0.05)
            continue
        node = cluster.view.nodes.get(held.node)
        if node is None:
            return kv.mod_revision
        try:
            answer = await node.engine.call("GET", f"/containers/{alloc.container}/json")
        except EngineUnreachable as error:
            raise taken(name, alloc.container, node.name) from error
        if answer.status != 404:
            raise taken(name, alloc.container)
        await release(cluster, held.node, held.token)
        return None


async def bind(cluster: Cluster, claim: Claim, container: str) -> None:
    """The engine has made the container: the claim comes off the lease.

    Raises:
        StoreLost: the lease ran out or the store is away; the caller deletes the container again.
    """
    alloc_key, name_key = keys.alloc(claim.node, claim.token), keys.name(claim.name)
    bound = msgspec.structs.replace(claim.alloc, state=BOUND, container=container)
    compares = [ModIs(alloc_key, claim.revision), ModIs(name_key, claim.revision)]
    ops = [
        Put(alloc_key, codec.encode(bound)),
        Put(name_key, codec.encode(Name(token=claim.token, node=claim.node))),
    ]
    result = await cluster.txn(compares, ops)
    if not result.ok:
        kv = await cluster.reach(cluster.store.get(alloc_key))
        mine = codec.decode(Alloc, kv.value) if kv else None
        if mine is None or mine.container != container:
            raise StoreLost("cluster store unavailable: the claim was lost before the container was bound to it")


async def drop(cluster: Cluster, claim: Claim) -> None:
    """Undo of take. Volumes stay when a container was made with them; their owner is then a fact.

    With the store away the keys are dropped when it is back, and the volumes left to the sweep: until then somebody may
    have put data there.
    """
    await cluster.surely(lambda: _drop_keys(cluster, claim))
    for volume in claim.new_volumes + claim.volumes:
        await _give_up_volume(cluster, claim.node, volume, forget=volume in claim.new_volumes)


async def _drop_keys(cluster: Cluster, claim: Claim) -> None:
    alloc_key, name_key = keys.alloc(claim.node, claim.token), keys.name(claim.name)
    kv = await cluster.reach(cluster.store.get(alloc_key))
    if kv is None:
        return
    name_kv = await cluster.reach(cluster.store.get(name_key))
    compares: list[Compare] = [ModIs(alloc_key, kv.mod_revision)]
    ops: list[Op] = [Delete(alloc_key)]
    held = codec.decode(Name, name_kv.value) if name_kv else None
    if name_kv and held and held.token == claim.token:
        compares.append(ModIs(name_key, name_kv.mod_revision))
        ops.append(Delete(name_key))
    await cluster.txn(compares, ops)


async def _give_up_volume(cluster: Cluster, node_id: str, volume: str, *, forget: bool) -> None:
    held = cluster.records.volumes.get(volume)
    node = cluster.view.nodes.get(node_id)
    if held is None or node is None or held.value.owner != node_id:
        return
    answer = await node.engine.call("DELETE", f"/volumes/{volume}")
    if answer.status not in (204, 404):
        return
    key = keys.volume(volume)
    op: Op = Delete(key) if forget else Put(key, codec.encode(replace_owner(held.value, "")))
    await cluster.txn([ModIs(key, held.revision)], [op])


async def release(cluster: Cluster, node_id: str, token: str) -> bool:
    """The container is gone: its name and its share are free. True when nothing of it is held any more.

    Tried with what is known here, which costs one round trip; the store is asked when that is not the newest.
    """
    alloc_key = keys.alloc(node_id, token)
    for fresh in (False, True, True, True):
        kv = await _read(cluster, alloc_key, fresh=fresh)
        if kv is None and not fresh:
            continue
        if kv is None:
            return True
        alloc = codec.decode(Alloc, kv.value) or Alloc()
        compares: list[Compare] = [ModIs(alloc_key, kv.mod_revision)]
        ops: list[Op] = [Delete(alloc_key)]
        if alloc.name:
            name_key = keys.name(alloc.name)
            name_kv = await _read(cluster, name_key, fresh=fresh)
            held = codec.decode(Name, name_kv.value) if name_kv else None
            if name_kv and held and held.token == token and held.node == node_id:
                compares.append(ModIs(name_key, name_kv.mod_revision))
                ops.append(Delete(name_key))
        if (await cluster.txn(compares, ops)).ok:
            return True
    return False


async def _read(cluster: Cluster, key: str, *, fresh: bool) -> KV | None:
    return await cluster.reach(cluster.store.get(key)) if fresh else cluster.cache.get(key)
