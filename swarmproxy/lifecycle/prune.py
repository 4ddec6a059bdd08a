"""What nobody in the cluster uses, and its removal.

An engine knows its own users only, so networks, volumes and tagged images are never left to an engine's prune: the
unused ones are found over all nodes and each is removed as `rm` would, whose last word is the store's (networks) or
the engine's (volumes, images: it refuses what got a user meanwhile). What one removal is refused for does not keep the
others from going. Containers and dangling images are an engine's own business and are forwarded (api/prune).

As on an engine: a network that only stopped containers know is unused; volumes with driver options or of another driver
than `local` stay; an image with users keeps all its tags.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from swarmproxy.cluster.node import Node
from swarmproxy.discovery.store import Delete, ModIs
from swarmproxy.engine.deadline import LASTING
from swarmproxy.engine.version import number
from swarmproxy.lifecycle import everywhere, image, network, volume
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.lifecycle.refusal import failed
from swarmproxy.model import keys, moment
from swarmproxy.model.errors import Conflict, DockerError

log = logging.getLogger(__name__)

Takes = Callable[[Mapping[str, str], float], bool]
"""(labels, created in Unix seconds) → whether the caller's filters let it go."""

AT_ONCE = 8
LABELS_ANONYMOUS = "1.42"
"""First API version whose engines label anonymous volumes."""

_HEX = re.compile(r"[0-9a-f]{64}\Z")

T = TypeVar("T")


async def _gathered(work: Iterable[Awaitable[T]]) -> list[T]:
    """Results of what was not refused, a few at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(each: Awaitable[T]) -> T:
        async with gate:
            return await each

    results = await asyncio.gather(*map(one, work), return_exceptions=True)
    for problem in results:
        if isinstance(problem, DockerError):
            log.info("left by prune: %s", problem)
        elif isinstance(problem, BaseException):
            raise problem
    return [result for result in results if not isinstance(result, BaseException)]


# -- networks --------------------------------------------------------------------------------------------------------
async def networks(cluster: Cluster, nodes: frozenset[str], takes: Takes) -> list[str]:
    """Removes unused networks; their names.

    Args:
        nodes: ids; only networks that live on one of them, or on none in particular.
    """
    await cluster.settle()

    async def remove(network_id: str, name: str) -> str:
        await network.remove(cluster, network_id)
        return name

    doomed = [
        (record.id, network.shown_name(cluster, record))
        for record in (held.value for held in cluster.records.networks.values())
        if (not record.home or record.home in nodes)
        and not cluster.records.endpoints.get(record.id)
        and takes(record.labels, moment.rfc3339(record.created) or 0.0)
    ]
    return sorted(await _gathered(remove(*one) for one in doomed))


# -- volumes ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Unused:
    """A volume without users. `node` is None while no node holds its data; then `revision` is its record's."""

    shown: str
    name: str
    node: Node | None
    revision: int = 0


async def volumes(
    cluster: Cluster, nodes: frozenset[str], takes: Takes, *, anonymous_only: bool
) -> tuple[list[str], int]:
    """Removes unused volumes, data and record; (names, bytes)."""
    await everywhere.look_again(cluster, cluster.view.relist, cluster.view.refresh_volumes)
    doomed = _unused(cluster, nodes, takes, anonymous_only)
    sizes = await _volume_sizes(cluster, {one.node.id: one.node for one in doomed if one.node is not None}.values())

    async def remove(one: Unused) -> Unused:
        if one.node is not None:
            await volume.remove(cluster, one.shown, force=False)
            return one
        key = keys.volume(one.name)
        if not (await cluster.txn([ModIs(key, one.revision)], [Delete(key)])).ok:
            raise Conflict(f"remove {one.name}: volume is in use")  # a container took it at this moment
        return one

    gone = await _gathered(remove(one) for one in doomed)
    freed = sum(sizes.get((one.node.id, one.name), 0) for one in gone if one.node is not None)
    return [one.shown for one in gone], freed


def _unused(cluster: Cluster, nodes: frozenset[str], takes: Takes, anonymous_only: bool) -> list[Unused]:
    used = {
        (entry.node.id, mount.get("Name"))
        for entry in cluster.view.entries(True)
        for mount in entry.mounts
        if mount.get("Name")
    }
    found: list[Unused] = []
    for node in [node for node in cluster.view.nodes.values() if node.healthy and node.id in nodes]:
        for name, listed in node.volumes.items():
            labels = listed.get("Labels") or {}
            if (node.id, name) in used or listed.get("Driver") != "local" or listed.get("Options"):
                continue
            if anonymous_only and not _anonymous(name, labels, node.engine.api):
                continue
            if takes(labels, moment.rfc3339(str(listed.get("CreatedAt"))) or 0.0):
                found.append(Unused(str(volume.shown(cluster, node, listed)["Name"]), name, node))
    for name, held in cluster.records.volumes.items():
        record = held.value
        named = volume.ANONYMOUS not in record.labels
        if record.owner or record.driver != "local" or record.opts or (anonymous_only and named):
            continue  # an owner without the data has a container on its way, or is away
        if takes(record.labels, moment.rfc3339(record.created) or 0.0):
            found.append(Unused(name, name, None, held.revision))
    return found


def _anonymous(name: str, labels: Mapping[str, str], api: str) -> bool:
    if volume.ANONYMOUS in labels:
        return True
    return bool(_HEX.match(name)) and bool(api) and number(api) < number(LABELS_ANONYMOUS)


async def _volume_sizes(cluster: Cluster, nodes: Iterable[Node]) -> dict[tuple[str, str], int]:
    """Bytes by (node id, name). What an engine does not tell in time is missing."""
    sizes: dict[tuple[str, str], int] = {}
    for node, usage in await _usages(cluster, nodes, "volume"):
        for one in usage.get("Volumes") or ():
            sizes[node.id, str(one["Name"])] = max(0, int((one.get("UsageData") or {}).get("Size", 0)))
    return sizes


async def _usages(cluster: Cluster, nodes: Iterable[Node], kind: str) -> list[tuple[Node, dict[str, Any]]]:
    """system/df of each node; engines before 1.42 answer with everything, whatever was asked."""

    async def ask(node: Node) -> dict[str, Any]:
        answer = await node.engine.call("GET", "/system/df", query=f"type={kind}", deadline=LASTING)
        if answer.status != 200:
            raise failed(answer.status, answer.body, node)
        return msgspec.json.decode(answer.body, type=dict[str, Any])

    told, _ = await everywhere.ask_all(cluster, nodes, ask)
    return told


# -- images ----------------------------------------------------------------------------------------------------------
async def images(cluster: Cluster, nodes: frozenset[str], takes: Takes) -> tuple[list[dict[str, str]], int]:
    """Removes every image that no container of any node uses, tagged ones too; (what engines untagged and deleted,
    bytes that all nodes together won)."""
    await everywhere.look_again(cluster, cluster.view.relist, cluster.view.refresh_images)
    doomed = _without_users(cluster, nodes, takes)
    holders = list({node.id: node for node, _, _ in doomed}.values())
    if not holders:
        return [], 0
    before = await _layers(cluster, holders)
    lines = await _gathered(
        everywhere.while_answering(cluster, node, _remove_image(node, image_id, names))
        for node, image_id, names in doomed
    )
    after = await _layers(cluster, holders)
    await asyncio.gather(*(cluster.view.refresh_images(node.id) for node in holders), return_exceptions=True)
    await _forget(cluster, {image_id for _, image_id, _ in doomed})
    freed = sum(max(0, before[node] - after.get(node, before[node])) for node in before)
    # copies on several nodes are one image to the client
    return list({tuple(line.items()): line for some in lines for line in some}.values()), freed


def _without_users(cluster: Cluster, nodes: frozenset[str], takes: Takes) -> list[tuple[Node, str, list[str]]]:
    """(node, id, names by which its engine removes it; none = by the id), children before their parents."""
    used = {entry.image_id for entry in cluster.view.entries(True)}
    found: list[tuple[Node, str, list[str]]] = []
    for node in [node for node in cluster.view.nodes.values() if node.healthy and node.id in nodes]:
        parents = {str(one.get("ParentId")) for one in node.images.values()}
        for image_id, listed in node.images.items():
            names = image.tags(listed)
            names += [one for one in listed.get("RepoDigests") or () if not one.startswith("<none>")]
            if image_id in used or (not names and image_id in parents):
                continue
            if takes(listed.get("Labels") or {}, float(listed.get("Created") or 0)):
                found.append((node, image_id, names))
    return sorted(found, key=lambda one: -float(one[0].images[one[1]].get("Created") or 0))


async def _remove_image(node: Node, image_id: str, names: list[str]) -> list[dict[str, str]]:
    """Name by name, as an engine's own prune does; a name that is gone by then is no fault."""
    lines: list[dict[str, str]] = []
    for name in names or [image_id]:
        answer = await node.engine.call("DELETE", f"/images/{quote(name, safe='/:@')}", deadline=LASTING)
        if answer.status == 200:
            lines += msgspec.json.decode(answer.body, type=list[dict[str, str]])
        elif answer.status not in (404, 409):
            raise failed(answer.status, answer.body, node)
    return lines


async def _layers(cluster: Cluster, nodes: Iterable[Node]) -> dict[str, int]:
    return {node.id: int(usage.get("LayersSize") or 0) for node, usage in await _usages(cluster, nodes, "image")}


async def _forget(cluster: Cluster, image_ids: set[str]) -> None:
    """References to these images that no node has any more mean nothing."""
    for reference, held in list(cluster.records.images.items()):
        listed = [node.images.get(held.value.id, {}) for node in cluster.view.nodes.values()]
        if held.value.id in image_ids and not any(reference in image.tags(one) for one in listed):
            with contextlib.suppress(DockerError):
                await image.forget(cluster, reference)
