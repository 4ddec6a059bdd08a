"""Networks: answered from the store's records, so every proxy and every node tells the same.

Driver, Options and IPAM come back as the client sent them. `Containers` of an overlay are its endpoints on all hosts;
of other networks they are what the engines say, merged. The three networks that every engine has are shown once, with
one fixed id.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from swarmproxy.api import filters, replies
from swarmproxy.api.call import Call
from swarmproxy.cluster.node import Node
from swarmproxy.lifecycle import connect, network
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model import options
from swarmproxy.model.errors import DockerError
from swarmproxy.model.records import OVERLAY, Endpoint, Network

KNOWN = frozenset("dangling driver id label name scope type".split())


def described(cluster: Cluster, record: Network) -> dict[str, Any]:
    """A record in the shape of network inspect, without Containers."""
    body: dict[str, Any] = msgspec.json.decode(record.body)
    ipam = body.get("IPAM") or {}
    config = ipam.get("Config") or [{"Subnet": subnet.cidr, "Gateway": subnet.gateway} for subnet in record.subnets]
    driver = body.get("Driver") or "bridge"
    return {
        "Name": network.shown_name(cluster, record),
        "Id": record.id,
        "Created": record.created,
        "Scope": "global" if driver == "overlay" else "local",
        "Driver": driver,
        "EnableIPv6": record.ipv6,
        "IPAM": {"Driver": ipam.get("Driver") or "default", "Options": ipam.get("Options"), "Config": config},
        "Internal": record.internal,
        "Attachable": bool(body.get("Attachable")),
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": body.get("Options") or {},
        "Labels": record.labels,
    }


def _predefined(cluster: Cluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name, fixed in options.PREDEFINED.items():
        for node in sorted(cluster.view.nodes.values(), key=lambda node: node.name):
            local = next((one for one in node.networks.values() if one.get("Name") == name), None)
            if local is not None:
                found.append({**local, "Id": fixed, "Containers": {}})
                break
    return found


async def list_(call: Call[Cluster]) -> web.StreamResponse:
    cluster = call.cluster
    wanted = filters.parse(call.query.get("filters"), KNOWN)
    for value in wanted.get("type", ()):
        if value not in ("custom", "builtin"):
            raise DockerError(f"invalid filter: 'type'='{value}'")
    await _know_all(cluster)
    items = _predefined(cluster) + [described(cluster, held.value) for held in cluster.records.networks.values()]
    shown = [item for item in items if _matches(cluster, item, wanted)]
    shown.sort(key=lambda item: (item["Name"], item["Id"]))
    return replies.json(call, shown)


async def _know_all(cluster: Cluster) -> None:
    """Compose looks for a network that it made through another proxy a moment ago."""
    if cluster.shared:
        await cluster.settle()


def _matches(cluster: Cluster, item: dict[str, Any], wanted: filters.Filters) -> bool:
    builtin = item["Name"] in options.PREDEFINED
    used = bool(cluster.records.endpoints.get(item["Id"])) or builtin
    dangling = filters.truth(wanted, "dangling")
    return (
        ("name" not in wanted or filters.name_pattern(wanted["name"])(item["Name"]))
        and ("id" not in wanted or any(value in item["Id"] for value in wanted["id"]))
        and ("driver" not in wanted or item["Driver"] in wanted["driver"])
        and ("scope" not in wanted or item["Scope"] in wanted["scope"])
        and ("label" not in wanted or filters.labels_match(item.get("Labels") or {}, wanted["label"]))
        and ("type" not in wanted or ("builtin" if builtin else "custom") in wanted["type"])
        and (dangling is None or dangling is not used)
    )


async def inspect(call: Call[Cluster]) -> web.StreamResponse:
    cluster, reference = call.cluster, call.params["network"]
    if name := network.predefined(reference):
        item = next((one for one in _predefined(cluster) if one["Name"] == name), None)
        if item is None:
            raise network.missing(reference)
        item["Containers"] = await _from_engines(cluster, options.PREDEFINED[name])
        return replies.json(call, item)
    held = await network.seek(cluster, reference)
    if held is None:
        raise network.missing(reference)
    item = described(cluster, held.value)
    if held.value.mode == OVERLAY:
        item["Containers"] = _from_endpoints(cluster, held.value)
    else:
        item["Containers"] = await _from_engines(cluster, held.value.id)
    return replies.json(call, item)


def _from_endpoints(cluster: Cluster, record: Network) -> dict[str, Any]:
    found: dict[str, Any] = {}
    prefixes = {"4": "", "6": ""}
    for subnet in record.subnets:
        prefixes["6" if ":" in subnet.cidr else "4"] = subnet.cidr.rpartition("/")[2]
    for endpoint_id, held in cluster.records.endpoints.get(record.id, {}).items():
        endpoint: Endpoint = held.value
        alloc = cluster.records.allocs.get(endpoint.node, {}).get(endpoint.token)
        container = endpoint.container or (alloc.value.container if alloc else "")
        name = (alloc.value.name if alloc else "") or next(iter(endpoint.names), "")
        found[container or f"ep-{endpoint_id}"] = {
            "Name": name,
            "EndpointID": endpoint_id,
            "MacAddress": endpoint.mac,
            "IPv4Address": f"{endpoint.ip}/{prefixes['4']}" if endpoint.ip else "",
            "IPv6Address": f"{endpoint.ip6}/{prefixes['6']}" if endpoint.ip6 else "",
        }
    return found


async def _from_engines(cluster: Cluster, network_id: str) -> dict[str, Any]:
    async def ask(node: Node, local: str) -> dict[str, Any]:
        answer = await node.engine.call("GET", f"/networks/{local}")
        return (msgspec.json.decode(answer.body).get("Containers") or {}) if answer.status == 200 else {}

    nodes = [(node, node.local_of.get(network_id, "")) for node in cluster.view.nodes.values() if node.healthy]
    parts = await asyncio.gather(*(ask(node, local) for node, local in nodes if local), return_exceptions=True)
    return {key: value for part in parts if isinstance(part, dict) for key, value in part.items()}


async def create(call: Call[Cluster]) -> web.StreamResponse:
    made, warning = await network.create(call.cluster, await call.json_body())
    return replies.json(call, {"Id": made.id, "Warning": warning}, status=201)


async def remove(call: Call[Cluster]) -> web.StreamResponse:
    await network.remove(call.cluster, call.params["network"])
    return replies.empty(call)


async def connect_(call: Call[Cluster]) -> web.StreamResponse:
    await connect.connect(call.cluster, call.params["network"], await call.json_body())
    return replies.empty(call, 200)


async def disconnect(call: Call[Cluster]) -> web.StreamResponse:
    await connect.disconnect(call.cluster, call.params["network"], await call.json_body())
    return replies.empty(call, 200)
