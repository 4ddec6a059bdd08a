"""Rename: the new name is claimed first, the engine renames, the old name goes.

In between both names are held, so nobody can slip in. If the proxy dies after the engine has renamed, the new name's
lease ends, and adoption moves the claim to the name that the engine now says.
"""

from __future__ import annotations

import contextlib
from urllib.parse import urlencode

import msgspec

from swarmproxy.cluster.entry import Entry
from swarmproxy.cluster.records import Held
from swarmproxy.discovery.store import Absent, Compare, Delete, ModIs, Op, Put
from swarmproxy.engine.deadline import WORK
from swarmproxy.lifecycle import claims, naming
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.lifecycle.refusal import failed
from swarmproxy.lifecycle.saga import Saga
from swarmproxy.model import codec, keys
from swarmproxy.model.errors import BadRequest, Conflict, DockerError, ServerError, StoreLost
from swarmproxy.model.records import Alloc, Name


async def rename(cluster: Cluster, entry: Entry, name: str) -> None:
    """Renames a container. Raises BadRequest, Conflict in Docker's words, or the engine's own error."""
    if not name:
        raise BadRequest("Neither old nor new names may be empty")
    try:
        name = naming.valid("/" + name)
    except BadRequest as error:
        raise BadRequest(f"Error when allocating new name: {error.words}") from None
    node = cluster.view.nodes[entry.node.id]
    held = cluster.records.alloc_of(entry.id)
    if name == entry.name:
        raise BadRequest("Renaming a container with the same name as its current name")
    if held is None:
        raise ServerError(f"container {entry.name} is not adopted yet, try again", node=node.name)
    _, token, alloc = held
    async with Saga("rename", cluster.failpoints) as saga:
        revision = await saga.step(
            "claim", _claim(cluster, name, token, node.id), undo=lambda taken: _unclaim(cluster, name, taken)
        )
        answer = await saga.step(
            "engine",
            node.engine.call("POST", f"/containers/{entry.id}/rename", query=urlencode({"name": name}), deadline=WORK),
        )
        if answer.status != 204:
            raise failed(answer.status, answer.body, node)
        await saga.step("bind", move(cluster, node.id, token, alloc, name, revision))
        await saga.step("refresh", cluster.view.refresh(node.id, entry.id))


async def _claim(cluster: Cluster, name: str, token: str, node: str) -> int:
    value = codec.encode(Name(token=token, node=node))
    for _ in range(3):
        lease = cluster.lease()
        try:
            result = await cluster.txn([Absent(keys.name(name))], [Put(keys.name(name), value, lease)])
        except StoreLost:  # it may hold all the same
            with contextlib.suppress(DockerError):
                await cluster.surely(lambda: _unclaim_unsure(cluster, name, token))
            raise
        if result.ok:
            return result.revision
        try:
            await claims.settle_name(cluster, name)
        except Conflict as conflict:
            raise Conflict("Error when allocating new name: " + conflict.words, node=conflict.node) from None
    raise Conflict(f'Error when allocating new name: Conflict. The container name "/{name}" is already in use.')


async def _unclaim(cluster: Cluster, name: str, revision: int) -> None:
    await cluster.surely(lambda: cluster.txn([ModIs(keys.name(name), revision)], [Delete(keys.name(name))]))


async def _unclaim_unsure(cluster: Cluster, name: str, token: str) -> None:
    kv = await cluster.reach(cluster.store.get(keys.name(name)))
    held = codec.decode(Name, kv.value) if kv else None
    if kv and kv.lease and held and held.token == token:
        await cluster.txn([ModIs(kv.key, kv.mod_revision)], [Delete(kv.key)])


async def move(cluster: Cluster, node: str, token: str, held: Held[Alloc], name: str, revision: int | None) -> bool:
    """Makes `name` the bound name of the claim and frees the one before.

    Args:
        revision: of the pending key of the new name; None = it is not held yet.
    """
    old = held.value.name
    renamed = msgspec.structs.replace(held.value, name=name)
    compares: list[Compare] = [
        ModIs(keys.alloc(node, token), held.revision),
        Absent(keys.name(name)) if revision is None else ModIs(keys.name(name), revision),
    ]
    ops: list[Op] = [
        Put(keys.alloc(node, token), codec.encode(renamed)),
        Put(keys.name(name), codec.encode(Name(token=token, node=node))),
    ]
    before = cluster.records.names.get(old)
    if before is not None and before.value.token == token and old != name:
        compares.append(ModIs(keys.name(old), before.revision))
        ops.append(Delete(keys.name(old)))
    return (await cluster.txn(compares, ops)).ok
