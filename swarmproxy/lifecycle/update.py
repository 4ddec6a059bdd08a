"""What a container takes of its node, counted anew after an update changed its limits."""

from __future__ import annotations

import msgspec

from swarmproxy.cluster.entry import Entry
from swarmproxy.discovery.store import ModIs, Put
from swarmproxy.lifecycle.adopt import alloc_from_inspect
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model import codec, keys
from swarmproxy.model.errors import DockerError


async def account(cluster: Cluster, entry: Entry) -> None:
    """Writes CPU and memory as the engine has them now. It has obeyed already, so a failure here is no error."""
    held = cluster.records.alloc_of(entry.id)
    if held is None:
        return
    node_id, token, alloc = held
    try:
        answer = await entry.node.engine.call("GET", f"/containers/{entry.id}/json")
        if answer.status != 200:
            return
        now = alloc_from_inspect(msgspec.json.decode(answer.body))
        if (now.cpu, now.memory) == (alloc.value.cpu, alloc.value.memory):
            return
        changed = msgspec.structs.replace(alloc.value, cpu=now.cpu, memory=now.memory)
        key = keys.alloc(node_id, token)
        await cluster.txn([ModIs(key, alloc.revision)], [Put(key, codec.amend(alloc.raw, changed))])
    except DockerError:
        return
