"""Volumes: records that have no place yet, and what the nodes hold, in one list."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from swarmproxy.api import filters, replies
from swarmproxy.api.call import Call
from swarmproxy.lifecycle import volume
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model.records import Volume

KNOWN = frozenset("dangling driver label name node".split())


def described(record: Volume) -> dict[str, Any]:
    """A record in the shape of volume inspect; where no node holds the data yet, it has no place either."""
    return {
        "CreatedAt": record.created,
        "Driver": record.driver,
        "Labels": record.labels or None,
        "Mountpoint": "",
        "Name": record.name,
        "Options": record.opts or None,
        "Scope": "local",
    }


def everything(cluster: Cluster) -> list[tuple[dict[str, Any], str]]:
    """(volume, node name or "") of every volume."""
    found: list[tuple[dict[str, Any], str]] = []
    placed: set[str] = set()
    for node in cluster.view.nodes.values():
        for listed in node.volumes.values():
            item = volume.shown(cluster, node, listed)
            placed.add(str(item["Name"]))
            found.append((item, node.name))
    for name, held in cluster.records.volumes.items():
        if name not in placed:
            owner = cluster.view.nodes.get(held.value.owner)
            found.append((described(held.value), owner.name if owner else ""))
    return sorted(found, key=lambda one: str(one[0]["Name"]))


async def list_(call: Call[Cluster]) -> web.StreamResponse:
    cluster = call.cluster
    wanted = filters.parse(call.query.get("filters"), KNOWN)
    if cluster.shared:
        await volume.catch_up(cluster, volume.LIST_SECONDS)
    dangling = filters.truth(wanted, "dangling")
    used = _used(cluster) if dangling is not None else set()
    items = [
        item
        for item, node in everything(cluster)
        if ("name" not in wanted or filters.name_pattern(wanted["name"])(item["Name"]))
        and ("driver" not in wanted or item["Driver"] in wanted["driver"])
        and ("label" not in wanted or filters.labels_match(item.get("Labels") or {}, wanted["label"]))
        and ("node" not in wanted or node in wanted["node"])
        and (dangling is None or dangling is not ((node, str(item["Name"]).rpartition("/")[2]) in used))
    ]
    return replies.json(call, {"Volumes": items, "Warnings": None})


def _used(cluster: Cluster) -> set[tuple[str, str]]:
    return {
        (entry.node.name, str(mount["Name"]))
        for entry in cluster.view.entries(True)
        for mount in entry.mounts
        if mount.get("Name")
    }


async def inspect(call: Call[Cluster]) -> web.StreamResponse:
    cluster, reference = call.cluster, call.params["volume"]
    found = await volume.seek(cluster, reference)
    if found is None:
        raise volume.missing(reference)
    listed = found.node.volumes.get(found.name) if found.node else None
    if listed is not None and found.node is not None:
        return replies.json(call, volume.shown(cluster, found.node, listed))
    if found.record is None:
        raise volume.missing(reference)
    return replies.json(call, described(found.record))


async def create(call: Call[Cluster]) -> web.StreamResponse:
    made = await volume.create(call.cluster, await call.json_body())
    node = call.cluster.view.nodes.get(made.owner)
    listed = node.volumes.get(made.name) if node else None
    return replies.json(call, listed or described(made), status=201)


async def remove(call: Call[Cluster]) -> web.StreamResponse:
    await volume.remove(call.cluster, call.params["volume"], force=call.query.flag("force"))
    return replies.empty(call)
