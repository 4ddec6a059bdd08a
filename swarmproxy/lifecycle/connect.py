"""Connecting a container to a network while it lives, and taking it off again.

The container's node gets the network first if it has none yet. What the client says of the endpoint is dressed as at
create: the agent needs the token, and aliases are ours to answer.
"""

from __future__ import annotations

import msgspec

from swarmproxy.cluster.entry import Entry
from swarmproxy.engine.deadline import WORK
from swarmproxy.lifecycle import network
from swarmproxy.lifecycle.body import EndpointShape, Tree, dress_endpoint, go_error, tree
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.lifecycle.refusal import failed
from swarmproxy.model.errors import BadRequest, DockerError, Forbidden, NotFound
from swarmproxy.model.records import LOCAL, OVERLAY

JSON = {"Content-Type": "application/json"}


def parse(data: bytes) -> tuple[str, Tree, Tree]:
    """(container, whole body, endpoint settings). Raises BadRequest."""
    try:
        body = tree(data)
        reference = msgspec.json.decode(body.get("Container", msgspec.Raw(b'""')), type=str)
        endpoint = tree(body.get("EndpointConfig", b""))
        msgspec.json.decode(msgspec.json.encode(endpoint), type=EndpointShape)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise go_error(error) from None
    if not reference:
        raise BadRequest('invalid name or ID supplied: ""')
    return reference, body, endpoint


async def connect(cluster: Cluster, reference: str, data: bytes) -> None:
    """Raises NotFound (the container is asked for first), Forbidden, or the engine's own error."""
    wanted, body, endpoint = parse(data)
    entry = await cluster.view.resolve(wanted)
    node = cluster.view.nodes[entry.node.id]
    if network.predefined(reference):
        local_id = network.predefined(reference)
    else:
        held = await network.seek(cluster, reference)
        if held is None:
            raise network.missing(reference)
        record = held.value
        if reason := network.not_here(cluster, node, record):
            raise Forbidden(f"cannot connect {entry.name} to network {record.name}", node=node.name, reason=reason)
        local_id = await network.ensure(cluster, node, record)
        if record.mode == OVERLAY:
            endpoint = dress_endpoint(endpoint, token=_token(cluster, entry), name=entry.name, links={})
    body |= {
        "Container": msgspec.Raw(msgspec.json.encode(entry.id)),
        "EndpointConfig": msgspec.Raw(msgspec.json.encode(endpoint)),
    }
    answer = await node.engine.call(
        "POST", f"/networks/{local_id}/connect", body=msgspec.json.encode(body), headers=JSON, deadline=WORK
    )
    if answer.status != 200:
        raise failed(answer.status, node.swap_out(answer.body), node)
    await cluster.view.refresh(node.id, entry.id)


def _token(cluster: Cluster, entry: Entry) -> str:
    held = cluster.records.alloc_of(entry.id)
    return held[1] if held else entry.token


async def disconnect(cluster: Cluster, reference: str, data: bytes) -> None:
    """Raises NotFound or the engine's own error."""
    wanted, body, _ = parse(data)
    force = body.get("Force", msgspec.Raw(b"false"))
    try:
        entry = await cluster.view.resolve(wanted)
    except NotFound:
        if bytes(force) == b"true":  # an engine then looks for an endpoint of that name
            raise NotFound(f"endpoint {wanted} not found") from None
        raise
    node = cluster.view.nodes[entry.node.id]
    local_id = network.predefined(reference)
    if not local_id:
        held = await network.seek(cluster, reference)
        if held is None:
            raise network.missing(reference)
        local_id = held.value.id if held.value.mode == LOCAL else ""
        local_id = node.local_of.get(held.value.id, local_id)
        if not local_id:
            to = "network" if entry.running else "the network"  # as engines say it
            raise DockerError(f"container {entry.id} is not connected to {to} {held.value.name}")
    body["Container"] = msgspec.Raw(msgspec.json.encode(entry.id))
    answer = await node.engine.call(
        "POST", f"/networks/{local_id}/disconnect", body=msgspec.json.encode(body), headers=JSON, deadline=WORK
    )
    if answer.status != 200:
        raise failed(answer.status, node.swap_out(answer.body), node)
    await cluster.view.refresh(node.id, entry.id)
