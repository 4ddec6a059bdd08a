"""Members changed through the API, by the same rules as `swarmproxy node`.

A member of a list (nodes://, file://, embedded) is changed in its list. Removing a member takes its record and what its
containers held in the store; the engine and its containers are not touched.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from swarmproxy.cluster.records import Held
from swarmproxy.discovery.store import Delete, ModIs, Op, Put
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model import codec
from swarmproxy.model.errors import BadRequest, DockerError, NotFound
from swarmproxy.model.records import Member

AVAILABILITIES = ("active", "pause", "drain")
OF_A_LIST = "members of a list are changed in the list"
BATCH = 100


def missing(reference: str) -> NotFound:
    return NotFound(f"node {reference} not found")


def find(cluster: Cluster, reference: str) -> Held[Member]:
    """By id, name, or unique id prefix, as swarm mode looks up. Raises NotFound, BadRequest."""
    members = cluster.records.members
    node = cluster.view.node(reference)
    if node is not None and node.id in members:
        return members[node.id]
    found = [held for member_id, held in members.items() if member_id.startswith(reference)]
    if len(found) > 1:
        raise BadRequest(f"node {reference} is ambiguous ({len(found)} matches found)")
    if not found:
        raise missing(reference)
    return found[0]


async def seek(cluster: Cluster, reference: str) -> Held[Member]:
    """As `find`; a member may have joined a moment ago."""
    try:
        return find(cluster, reference)
    except NotFound:
        await cluster.settle()
        return find(cluster, reference)


async def update(
    cluster: Cluster, held: Held[Member], version: int, *, availability: str, labels: Mapping[str, str]
) -> None:
    """Raises BadRequest for an unknown availability, 500 `update out of sequence` when it changed since `version`."""
    if held.value.source:
        raise BadRequest(OF_A_LIST)
    if availability not in AVAILABILITIES:
        raise BadRequest(f'invalid Availability: "{availability}"')
    changed = msgspec.structs.replace(held.value, availability=availability, labels=dict(labels))
    put = Put(held.key, codec.amend(held.raw, changed))
    if not (await cluster.txn([ModIs(held.key, version)], [put])).ok:
        raise DockerError("rpc error: code = Unknown desc = update out of sequence")


async def remove(cluster: Cluster, held: Held[Member]) -> None:
    """Raises BadRequest while the member's agent lives: it would register again."""
    member, records = held.value, cluster.records
    if member.source:
        raise BadRequest(OF_A_LIST)
    if member.id in records.agents:
        raise BadRequest(
            f"rpc error: code = FailedPrecondition desc = node {member.id} is not down and can't be removed",
            reason="its agent runs",
        )
    if not (await cluster.txn([ModIs(held.key, held.revision)], [Delete(held.key)])).ok:
        raise DockerError("rpc error: code = Unknown desc = update out of sequence")
    doomed: list[Op] = [Delete(one.key) for one in records.allocs.get(member.id, {}).values()]
    doomed += [Delete(one.key) for one in records.names.values() if one.value.node == member.id]
    for start in range(0, len(doomed), BATCH):
        await cluster.txn([], doomed[start : start + BATCH])
