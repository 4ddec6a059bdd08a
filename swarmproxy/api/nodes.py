"""The members in swarm mode's shape, so that `docker node ls`, `inspect`, `update` and `rm` work on them.

Every member is a worker: there is no manager, since no proxy is a node. `ready` means that the engine answers, `down`
that it does not, `unknown` that it never has; an agent that is lost is told in Status.Message. Version.Index is the
store's revision of the member, which `update` must name, as in swarm mode. Nothing else of swarm mode exists here, and
/info goes on saying `inactive`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from swarmproxy.api import filters, replies
from swarmproxy.api.call import Call
from swarmproxy.cluster.health import State
from swarmproxy.cluster.node import Node
from swarmproxy.cluster.records import Held
from swarmproxy.lifecycle import members
from swarmproxy.lifecycle.body import go_error
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model import moment
from swarmproxy.model.errors import BadRequest
from swarmproxy.model.records import Member

KNOWN = frozenset("id label membership name node.label role".split())
_STATES = {State.PENDING: "unknown", State.UNHEALTHY: "down"}


class Spec(msgspec.Struct):
    """Of an update's body, what can be changed."""

    Availability: str = ""
    Role: str = ""
    Labels: dict[str, str] | None = None


def described(node: Node, held: Held[Member]) -> dict[str, Any]:
    """A member in the shape of swarm mode's Node."""
    info = node.info
    plugins = [
        {"Type": kind, "Name": name}
        for kind, names in sorted((info.get("Plugins") or {}).items())
        for name in names or ()
    ]
    return {
        "ID": node.id,
        "Version": {"Index": held.revision},
        "CreatedAt": moment.written(0),
        "UpdatedAt": moment.written(node.updated),
        "Spec": {"Labels": held.value.labels, "Role": "worker", "Availability": held.value.availability},
        "Description": {
            "Hostname": node.name,
            "Platform": {"Architecture": info.get("Architecture") or "", "OS": info.get("OSType") or ""},
            "Resources": {"NanoCPUs": node.cpus * 10**9, "MemoryBytes": node.memory},
            "Engine": {
                "EngineVersion": info.get("ServerVersion") or "",
                "Labels": node.labels,
                "Plugins": plugins,
            },
            "TLSInfo": {},
        },
        "Status": {"State": _STATES.get(node.health.state, "ready"), "Message": _message(node), "Addr": node.ip},
    }


def _message(node: Node) -> str:
    if not node.healthy:
        return node.health.reason
    if not node.agent_alive:
        return "no agent runs there: no cluster networks"
    return node.warning


def _known(cluster: Cluster) -> list[tuple[Node, Held[Member]]]:
    held = cluster.records.members
    found = [(node, held[node.id]) for node in cluster.view.nodes.values() if node.id in held]
    return sorted(found, key=lambda one: (one[0].name, one[0].id))


async def list_(call: Call[Cluster]) -> web.StreamResponse:
    cluster = call.cluster
    wanted = filters.parse(call.query.get("filters"), KNOWN)
    for key, allowed in (("role", ("manager", "worker")), ("membership", ("accepted", "pending"))):
        for value in wanted.get(key, ()):
            if value not in allowed:
                raise BadRequest(f"Invalid {key} filter: '{value}'")
    if cluster.shared:
        await cluster.settle()
    return replies.json(call, [described(node, held) for node, held in _known(cluster) if _matches(node, held, wanted)])


def _matches(node: Node, held: Held[Member], wanted: filters.Filters) -> bool:
    return (
        ("id" not in wanted or node.id.startswith(tuple(wanted["id"])))
        and ("name" not in wanted or node.name.startswith(tuple(wanted["name"])))
        and ("label" not in wanted or filters.labels_match(node.labels, wanted["label"]))
        and ("node.label" not in wanted or filters.labels_match(held.value.labels, wanted["node.label"]))
        and ("role" not in wanted or "worker" in wanted["role"])
        and ("membership" not in wanted or "accepted" in wanted["membership"])
    )


async def inspect(call: Call[Cluster]) -> web.StreamResponse:
    held = await members.seek(call.cluster, call.params["node"])
    node = call.cluster.view.nodes.get(held.value.id)
    if node is None:  # its monitor is about to begin
        raise members.missing(call.params["node"])
    return replies.json(call, described(node, held))


async def update(call: Call[Cluster]) -> web.StreamResponse:
    body = await call.json_body()
    held = await members.seek(call.cluster, call.params["node"])
    try:
        spec = msgspec.json.decode(body, type=Spec)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise go_error(error) from None
    if not call.query.get("version").isdecimal():
        raise BadRequest(f'invalid node version "{call.query.get("version")}": invalid syntax')
    if spec.Role not in ("", "worker"):
        raise BadRequest("a node cannot be a manager: the proxies are")
    await members.update(
        call.cluster,
        held,
        int(call.query.get("version")),
        availability=spec.Availability or held.value.availability,
        labels=spec.Labels or {},
    )
    return replies.empty(call, 200)


async def remove(call: Call[Cluster]) -> web.StreamResponse:
    await members.remove(call.cluster, await members.seek(call.cluster, call.params["node"]))
    return replies.empty(call, 200)
