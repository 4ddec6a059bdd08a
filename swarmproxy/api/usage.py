"""Disk usage of all nodes as one engine's: `docker system df`.

An image is one line, its containers and its bytes summed over its copies: `docker` reckons what could be reclaimed as
LayersSize minus the images in use, so both must be counted alike, and a copy on three disks takes three times the
space. Containers and volumes are shown as the lists show them. A node that does not answer in time is left out of the
sums; its containers and volumes stay listed, without sizes.

Cost: what the slowest engine needs, which grows with its layers and volumes.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from swarmproxy.api import images, replies, volumes
from swarmproxy.api.call import Call
from swarmproxy.cluster.node import Node
from swarmproxy.engine.deadline import LASTING
from swarmproxy.engine.version import number
from swarmproxy.lifecycle import everywhere
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.lifecycle.refusal import failed
from swarmproxy.model.errors import BadRequest

KINDS = ("container", "image", "volume", "build-cache")
_SUMMED = ("Containers", "Size", "SharedSize", "VirtualSize")

Usage = dict[str, Any]


async def disk(call: Call[Cluster]) -> web.StreamResponse:
    cluster = call.cluster
    kinds = call.query.all("type") if number(call.version) >= number("1.42") else []
    for kind in kinds:
        if kind not in KINDS:
            raise BadRequest(f"unknown object type: {kind}")
    told = await _ask_all(call, kinds)
    wanted = kinds or KINDS
    body: Usage = {
        "LayersSize": sum(int(usage.get("LayersSize") or 0) for _, usage in told) if "image" in wanted else 0,
        "Images": _images(cluster, told) if "image" in wanted else None,
        "Containers": _containers(cluster, told) if "container" in wanted else None,
        "Volumes": _volumes(cluster, told) if "volume" in wanted else None,
        "BuildCache": [one for _, usage in told for one in usage.get("BuildCache") or ()]
        if "build-cache" in wanted
        else None,
    }
    if any("BuilderSize" in usage for _, usage in told):
        body["BuilderSize"] = sum(int(usage.get("BuilderSize") or 0) for _, usage in told)
    return replies.json(call, body)


async def _ask_all(call: Call[Cluster], kinds: list[str]) -> list[tuple[Node, Usage]]:
    async def ask(node: Node) -> Usage:
        query = urlencode([("type", kind) for kind in kinds])
        answer = await node.engine.call("GET", "/system/df", query=query, deadline=LASTING, version=call.version)
        if answer.status != 200:
            raise failed(answer.status, answer.body, node)
        return msgspec.json.decode(answer.body, type=Usage)

    nodes = [node for node in call.cluster.view.nodes.values() if node.healthy]
    told, _ = await everywhere.ask_all(call.cluster, nodes, ask)
    return told


def _images(cluster: Cluster, told: list[tuple[Node, Usage]]) -> list[Usage]:
    shown = images.merged(cluster)
    found: dict[str, Usage] = {}
    for _, usage in told:
        for one in usage.get("Images") or ():
            known = found.get(one["Id"])
            if known is None:
                names = shown.get(one["Id"], one)
                found[one["Id"]] = {**one, "RepoTags": names["RepoTags"], "RepoDigests": names["RepoDigests"] or None}
            else:
                for key in _SUMMED:
                    if key in one:
                        known[key] = max(0, int(known.get(key, 0))) + max(0, int(one[key]))
    return sorted(found.values(), key=lambda one: (-int(one.get("Created") or 0), one["Id"]))


def _containers(cluster: Cluster, told: list[tuple[Node, Usage]]) -> list[Any]:
    sizes = {one["Id"]: one for _, usage in told for one in usage.get("Containers") or ()}
    now = time.time()
    listed: list[Any] = []
    for entry in cluster.view.entries(True):
        item = msgspec.json.decode(entry.bytes(now), type=dict[str, Any])
        size = sizes.get(entry.id, {})
        listed.append(item | {key: size[key] for key in ("SizeRw", "SizeRootFs") if key in size})
    return listed


def _volumes(cluster: Cluster, told: list[tuple[Node, Usage]]) -> list[Usage]:
    known = {
        (node.name, str(one["Name"])): one.get("UsageData")
        for node, usage in told
        for one in usage.get("Volumes") or ()
    }
    unknown, nothing = {"RefCount": -1, "Size": -1}, {"RefCount": 0, "Size": 0}
    found: list[Usage] = []
    for item, node in volumes.everything(cluster):
        plain = str(item["Name"]).rpartition("/")[2]
        data = known.get((node, plain)) or (unknown if node else nothing)
        found.append({**item, "UsageData": data})
    return found
