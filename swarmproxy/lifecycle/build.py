"""Where a build goes, and what its tags mean afterwards.

A build goes to one node. Filters decide as for a container: constraints and affinities among the build arguments,
health, availability, memory, the network its steps run in. Among the nodes that pass, the one that lacks the fewest of
the cluster's images comes first, then the strategy's order: `FROM` finds what an earlier build has made, and the build
cache is where it was. An image that its Dockerfile names and only other nodes have is copied to the node.

Tags: what an engine has under a tag after a build is what the tag means in the whole cluster, before the client is told
that the build is over. 20.10 sends no event for an image that BuildKit made, so the engine is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote_plus, unquote_plus

import msgspec

from swarmproxy.cluster.node import Node
from swarmproxy.lifecycle import image, network, references, snapshot
from swarmproxy.lifecycle.buildsession import Usable
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model.errors import BadRequest, DockerError
from swarmproxy.model.records import LOCAL, OVERLAY, Network
from swarmproxy.scheduler.body import split_directives
from swarmproxy.scheduler.place import place
from swarmproxy.scheduler.request import Bond, Request

log = logging.getLogger(__name__)

EXPECTED = 2.0
"""Seconds that a session waits for the build that will name it; clients send both at once."""

BRING = 20.0
"""Seconds that a build's own bytes are held for a copy, which then goes on: BuildKit gives a silent session up."""


def usable(cluster: Cluster) -> Usable:
    """Whether a node of that id still answers; a drained one finishes what it has begun."""
    nodes = cluster.view.nodes
    return lambda node_id: (node := nodes.get(node_id)) is not None and node.healthy


def of_session(cluster: Cluster, session: str) -> Node | None:
    """The node that a session is bound to."""
    return cluster.view.nodes.get(cluster.builds.of_session(session, time.monotonic(), usable(cluster)))


def of_peer(cluster: Cluster, peer: str) -> Node | None:
    """The node of a client's calls without a session."""
    return cluster.view.nodes.get(cluster.builds.of_peer(peer, time.monotonic(), usable(cluster)))


async def for_peer(cluster: Cluster, peer: str) -> Node:
    """The same, chosen now when the client has none. Nothing is awaited after the choice. Raises NoNode."""
    if (known := of_peer(cluster, peer)) is not None:
        return known
    await look(cluster)
    return of_peer(cluster, peer) or choose(cluster)


async def look(cluster: Cluster) -> None:
    """Before a choice: where is what another proxy has built a moment ago?"""
    with contextlib.suppress(DockerError):
        await image.catch_up(cluster)


async def expected(cluster: Cluster, session: str) -> Node | None:
    """The node of a session whose build is on its way, or None when none comes, or it was refused.

    Then any node will do: the command shows why its build was refused only when its session goes well.
    """
    bound = asyncio.Event()

    def listen(name: str) -> None:
        if name == session:
            bound.set()

    cluster.builds.listeners.add(listen)
    try:
        async with asyncio.timeout(EXPECTED):
            while (node := of_session(cluster, session)) is None:
                if cluster.builds.refused(session):
                    return None
                await bound.wait()
                bound.clear()
            return node
    except TimeoutError:
        return None
    finally:
        cluster.builds.listeners.discard(listen)


READ = ("buildargs", "memory", "platform", "networkmode")
"""Names in a build's query that `read` reads."""


@dataclass(slots=True)
class BuildRequest:
    """What the query of a `POST /build` asks of a node.

    Attributes:
        rest: build arguments that are the engine's, None where none of them was ours.
    """

    request: Request
    rest: dict[str, str | None] | None = None
    network: Network | None = None
    container: str = ""
    unavailable: dict[str, dict[str, str]] = field(default_factory=dict)


async def read(cluster: Cluster, query: Mapping[str, str]) -> BuildRequest:
    """Reads buildargs, memory, platform, networkmode. Raises BadRequest, NotFound (a container to join)."""
    args = _build_args(query.get("buildargs", ""))
    texts = {key if value is None else f"{key}={value}": (key, value) for key, value in args.items()}
    directives = split_directives(list(texts), {})
    memory = query.get("memory", "")
    wanted = BuildRequest(
        Request(
            memory=int(memory) if memory.isdecimal() else 0,
            platform=query.get("platform", ""),
            constraints=directives.constraints,
            affinities=directives.affinities,
            whitelists=directives.whitelists,
        )
    )
    if len(directives.rest) < len(texts):
        wanted.rest = dict(texts[text] for text in directives.rest)
    await _read_network(cluster, wanted, query.get("networkmode", ""))
    return wanted


def _build_args(text: str) -> dict[str, str | None]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, str | None] | None) or {}
    except msgspec.DecodeError:
        return {}  # the engine refuses it in its own words


async def _read_network(cluster: Cluster, wanted: BuildRequest, mode: str) -> None:
    if mode in ("", "default", "host", "none") or network.predefined(mode):
        return
    if mode.startswith("container:"):
        entry = await cluster.view.resolve(mode.partition(":")[2])
        wanted.container = entry.id
        bond = Bond(f"--network={mode}", entry.name).at(entry.node.id, entry.node.name)
        wanted.request = replace(wanted.request, dependencies=(bond,))
        return
    held = await network.seek(cluster, mode)
    if held is None:
        return
    record = wanted.network = held.value
    homes: tuple[Bond, ...] = ()
    if record.mode == LOCAL:
        home = cluster.view.nodes.get(record.home)
        homes = (Bond(f"network {mode}", mode).at(record.home, home.name if home else record.home),)
    for node in cluster.view.nodes.values():
        if record.mode != LOCAL and (reason := network.not_here(cluster, node, record)):
            wanted.unavailable[node.id] = {record.name: reason}
    wanted.request = replace(
        wanted.request, networks=(record.name,), network_homes=homes, needs_overlay=record.mode == OVERLAY
    )


def choose(cluster: Cluster, wanted: BuildRequest | None = None) -> Node:
    """The node for a build. Raises NoNode (500), node by node why."""
    wanted = wanted or BuildRequest(Request())
    nodes = snapshot.take(cluster, wanted.request, wanted.unavailable)
    found = place(wanted.request, nodes, cluster.strategy, filters=cluster.filters)
    return min((cluster.view.nodes[one.id] for one in found.candidates), key=lambda node: _lacks(cluster, node))


def _lacks(cluster: Cluster, node: Node) -> int:
    """How many of the cluster's images the node has not; `min` keeps the strategy's order among equals."""
    meant = {held.value.id for held in cluster.records.images.values()}
    elsewhere = {one for other in cluster.view.nodes.values() for one in other.images}
    return len((meant & elsewhere) - node.images.keys())


async def engine_query(cluster: Cluster, node: Node, wanted: BuildRequest, raw: str) -> str:
    """The query as this node's engine understands it; only what must be different is touched."""
    changed: dict[str, str] = {}
    if wanted.rest is not None:
        changed["buildargs"] = msgspec.json.encode(wanted.rest).decode()
    if wanted.network is not None:
        changed["networkmode"] = await network.ensure(cluster, node, wanted.network)
    if wanted.container:
        changed["networkmode"] = f"container:{wanted.container}"
    parts = raw.split("&") if raw else []
    for place_, part in enumerate(parts):
        name = unquote_plus(part.partition("=")[0])
        if name in changed:
            parts[place_] = f"{name}={quote_plus(changed[name])}"
    return "&".join(parts)


async def bring(cluster: Cluster, node: Node, names: Sequence[str]) -> None:
    """Copies what the cluster has of these images to the node. What fails is the engine's to tell, in its own words."""
    found, unknown = _known(cluster, names)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(BRING):
            if unknown:  # stages and images of a registry; or another proxy has made one a moment ago
                await _quietly(image.seek(cluster, unknown[0]))
                found += _known(cluster, unknown)[0]
            await asyncio.gather(*(_quietly(image.ensure(cluster, node, one)) for one in found))


def _known(cluster: Cluster, names: Sequence[str]) -> tuple[list[image.Image], list[str]]:
    found: list[image.Image] = []
    unknown: list[str] = []
    for name in names:
        if image.unseen(cluster, name):
            unknown.append(name)
            continue
        try:
            found.append(image.resolve(cluster, name))
        except DockerError:
            unknown.append(name)
    return [one for one in found if not one.digest], unknown


async def _quietly(work: Awaitable[object]) -> None:
    try:
        await work
    except DockerError as error:
        log.debug("an image that a build may need: %s", error)


async def made(cluster: Cluster, node: Node, tags: Sequence[str]) -> None:
    """A build has ended well: the node is listed again, and what it was told to tag means that image everywhere."""
    await cluster.view.refresh_images(node.id)
    wanted = set()
    for text in tags:
        with contextlib.suppress(BadRequest):
            wanted.add(references.parse(text).familiar)
    here = [(tag, image_id) for image_id, listed in node.images.items() for tag in image.tags(listed)]
    await image.remember(cluster, [one for one in here if one[0] in wanted])
