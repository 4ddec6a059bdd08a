"""Prune: what nobody uses goes, and "nobody" means the whole cluster.

Stopped containers and dangling images are each engine's own business, so these prunes are forwarded to all healthy
engines and merged; the names of the containers that went are free before the reply is sent. Networks, volumes and
tagged images are decided here (lifecycle/prune). Replies have an engine's shape: nothing found is `null`, but `[]`
for volumes. Own filter key, for all of them: `node`.

An engine that fails is left out of the sum; when all do, the first one's words are told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from swarmproxy.api import containers, filters, replies
from swarmproxy.api.call import Call
from swarmproxy.cluster.node import Node
from swarmproxy.engine.deadline import LASTING
from swarmproxy.engine.version import number
from swarmproxy.lifecycle import claims, everywhere, prune
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.lifecycle.refusal import failed
from swarmproxy.model import moment
from swarmproxy.model.errors import BadRequest, ServerError, StoreLost

KNOWN = frozenset(("label", "label!", "node", "until"))
OF_IMAGES = KNOWN | {"dangling"}
OF_VOLUMES = frozenset(("label", "label!", "node"))
OF_CACHES = frozenset("description id inuse node parent private shared type unused-for until".split())

AT_ONCE = 16
"""Claims given back at a time."""


def asked(call: Call[Cluster], known: Collection[str]) -> filters.Filters:
    return filters.parse(call.query.get("filters"), known)


def takes(wanted: filters.Filters) -> prune.Takes:
    """The filters as a question. Raises BadRequest."""
    if len(wanted.get("until", ())) > 1:
        raise BadRequest("more than one until filter specified")
    until = moment.parse(wanted["until"][0], time.time()) if "until" in wanted else None

    def test(labels: Mapping[str, str], created: float) -> bool:
        return (
            (until is None or created <= until)
            and filters.labels_match(labels, wanted.get("label", ()))
            and not ("label!" in wanted and filters.labels_match(labels, wanted["label!"]))
        )

    return test


def named(cluster: Cluster, wanted: filters.Filters) -> list[Node]:
    """The nodes that the filter `node` names; all without it."""
    names = wanted.get("node")
    return [node for node in cluster.view.nodes.values() if not names or node.name in names or node.id in names]


def _ids(cluster: Cluster, wanted: filters.Filters) -> frozenset[str]:
    return frozenset(node.id for node in named(cluster, wanted))


async def _forwarded(call: Call[Cluster], wanted: filters.Filters) -> list[tuple[Node, dict[str, Any]]]:
    """The call made on all healthy engines; what each answered."""
    cluster = call.cluster
    passed = [(key, value) for key, values in call.query.items() if key != "filters" for value in values]
    theirs = {key: values for key, values in wanted.items() if key != "node"}
    if theirs:
        passed.append(("filters", msgspec.json.encode({k: dict.fromkeys(v, True) for k, v in theirs.items()}).decode()))

    async def ask(node: Node) -> dict[str, Any]:
        answer = await node.engine.call(
            "POST", call.path, query=urlencode(passed), deadline=LASTING, version=call.version
        )
        if answer.status != 200:
            raise failed(answer.status, answer.body, node)
        return msgspec.json.decode(answer.body, type=dict[str, Any])

    nodes = [node for node in named(cluster, wanted) if node.healthy]
    if not nodes:
        raise ServerError("No healthy node available in the cluster")
    told, errors = await everywhere.ask_all(cluster, nodes, ask)
    if not told:
        raise errors[0]
    return told


def _joined(told: list[tuple[Node, dict[str, Any]]], key: str) -> list[Any]:
    return [item for _, reply in told for item in reply.get(key) or ()]


def _freed(told: list[tuple[Node, dict[str, Any]]]) -> int:
    return sum(int(reply.get("SpaceReclaimed") or 0) for _, reply in told)


async def containers_(call: Call[Cluster]) -> web.StreamResponse:
    cluster = call.cluster
    wanted = asked(call, KNOWN)
    takes(wanted)
    told = await _forwarded(call, wanted)
    gate = asyncio.Semaphore(AT_ONCE)

    async def release(node: Node, container: str) -> None:
        async with gate:
            await _gone(cluster, node, container)

    await asyncio.gather(
        *(release(node, container) for node, reply in told for container in reply.get("ContainersDeleted") or ())
    )
    return replies.json(
        call, {"ContainersDeleted": _joined(told, "ContainersDeleted") or None, "SpaceReclaimed": _freed(told)}
    )


async def _gone(cluster: Cluster, node: Node, container: str) -> None:
    """The view may not have met it yet; its claim is given back all the same."""
    entry = node.containers.get(container)
    if entry is not None:
        await containers.released(cluster, entry)
        return
    held = cluster.records.alloc_of(container)
    cluster.view.gone(node.id, container)
    if held is not None:
        try:
            await claims.release(cluster, held[0], held[1])
        except StoreLost:
            pass  # the sweep frees it when the store is back


async def images(call: Call[Cluster]) -> web.StreamResponse:
    cluster = call.cluster
    wanted = asked(call, OF_IMAGES)
    test = takes(wanted)
    if filters.truth(wanted, "dangling") is False:
        lines, freed = await prune.images(cluster, _ids(cluster, wanted), test)
        return replies.json(call, {"ImagesDeleted": lines or None, "SpaceReclaimed": freed})
    told = await _forwarded(call, wanted)
    await asyncio.gather(*(cluster.view.refresh_images(node.id) for node, _ in told), return_exceptions=True)
    lines = list({tuple(line.items()): line for line in _joined(told, "ImagesDeleted")}.values())
    return replies.json(call, {"ImagesDeleted": lines or None, "SpaceReclaimed": _freed(told)})


async def networks(call: Call[Cluster]) -> web.StreamResponse:
    wanted = asked(call, KNOWN)
    gone = await prune.networks(call.cluster, _ids(call.cluster, wanted), takes(wanted))
    return replies.json(call, {"NetworksDeleted": gone or None})


async def volumes(call: Call[Cluster]) -> web.StreamResponse:
    """Up to API 1.41 all unused ones, from 1.42 the anonymous ones unless `all` says otherwise."""
    newer = number(call.version) >= number("1.42")
    wanted = asked(call, OF_VOLUMES | {"all"} if newer else OF_VOLUMES)
    everything = bool(filters.truth(wanted, "all")) or not newer
    gone, freed = await prune.volumes(
        call.cluster, _ids(call.cluster, wanted), takes(wanted), anonymous_only=not everything
    )
    return replies.json(call, {"VolumesDeleted": gone, "SpaceReclaimed": freed})


async def caches(call: Call[Cluster]) -> web.StreamResponse:
    try:
        wanted = asked(call, OF_CACHES)
    except BadRequest as error:
        raise BadRequest(f"failed to prune build cache: {error.words}") from None
    told = await _forwarded(call, wanted)
    return replies.json(call, {"CachesDeleted": _joined(told, "CachesDeleted") or None, "SpaceReclaimed": _freed(told)})
