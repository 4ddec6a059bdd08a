"""Images: one list over all members, and the calls that change what a name means.

An image is shown once, whatever number of nodes have it. A tag that means another image in the cluster than on some
node is shown there as `node/repo:tag`, and can be used so. What comes to one node (pull, load, import, commit, build)
has a meaning in the whole cluster at once; its bytes follow when a container needs them elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web

from swarmproxy.api import filters, replies
from swarmproxy.api.call import Call
from swarmproxy.api.passthrough import passthrough
from swarmproxy.cluster.entry import Entry
from swarmproxy.cluster.node import Node
from swarmproxy.engine.deadline import BULK, LASTING, WORK
from swarmproxy.lifecycle import everywhere, image, references
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.lifecycle.image import Image
from swarmproxy.lifecycle.refusal import failed
from swarmproxy.model import moment, pattern
from swarmproxy.model.errors import (
    BadRequest,
    Conflict,
    DockerError,
    EngineUnreachable,
    NotFound,
    ServerError,
    StoreLost,
)

KNOWN = frozenset("before dangling label reference since until node".split())
LOOK_SECONDS = 5.0
"""What a busy engine is waited for before a removal."""
_GLOB = {"*": "[^/]*", "?": "[^/]"}


def shown_tags(cluster: Cluster, node: Node, image_id: str, listed: dict[str, Any]) -> list[str]:
    """Tags as this node's copy shows them: plain where they mean this image, else `node/tag`."""
    meanings = cluster.records.images
    return [
        tag if (held := meanings.get(tag)) is None or held.value.id == image_id else f"{node.name}/{tag}"
        for tag in image.tags(listed)
    ]


def merged(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """Image id → list item, tags and digests of all nodes together."""
    found: dict[str, dict[str, Any]] = {}
    for node in sorted(cluster.view.nodes.values(), key=lambda node: node.name):
        for image_id, listed in node.images.items():
            tags = shown_tags(cluster, node, image_id, listed)
            digests = [one for one in listed.get("RepoDigests") or () if not one.startswith("<none>")]
            known = found.get(image_id)
            if known is None:
                found[image_id] = {**listed, "RepoTags": tags, "RepoDigests": digests}
            else:
                known["RepoTags"] = list(dict.fromkeys(known["RepoTags"] + tags))
                known["RepoDigests"] = list(dict.fromkeys(known["RepoDigests"] + digests))
    for item in found.values():
        plain = {tag for tag in item["RepoTags"] if "/" not in tag or cluster.view.node(tag.partition("/")[0]) is None}
        item["RepoTags"] = [tag for tag in item["RepoTags"] if tag in plain or tag.partition("/")[2] not in plain]
    return found


async def list_(call: Call[Cluster]) -> web.StreamResponse:
    cluster = call.cluster
    wanted = filters.parse(call.query.get("filters"), KNOWN)
    if cluster.shared:
        with contextlib.suppress(StoreLost):
            await image.catch_up(cluster)
    items = list(merged(cluster).values())
    dangling = filters.truth(wanted, "dangling")
    if not call.query.flag("all"):
        parents = {item.get("ParentId") for item in items}
        items = [item for item in items if item["RepoTags"] or item["RepoDigests"] or item["Id"] not in parents]
    if dangling is not None:
        items = [item for item in items if bool(item["RepoTags"]) is not dangling]
    if "reference" in wanted:
        items = [kept for item in items if (kept := _matching_tags(item, wanted["reference"])) is not None]
    if "label" in wanted:
        items = [item for item in items if filters.labels_match(item.get("Labels") or {}, wanted["label"])]
    if "node" in wanted:
        having = {one for node in cluster.view.nodes.values() if node.name in wanted["node"] for one in node.images}
        items = [item for item in items if item["Id"] in having]
    for key in ("before", "since"):
        for reference in wanted.get(key, ()):
            mark = _created(cluster, reference)
            items = [
                item for item in items if (item["Created"] < mark) == (key == "before") and item["Created"] != mark
            ]
    if "until" in wanted:
        if len(wanted["until"]) > 1:
            raise BadRequest("more than one until filter specified")
        until = moment.parse(wanted["until"][0], time.time())
        items = [item for item in items if item["Created"] <= until]
    if call.query.flag("shared-size"):
        shared = await _shared_sizes(call)
        items = [{**item, "SharedSize": shared.get(item["Id"], -1)} for item in items]
    items.sort(key=lambda item: (-int(item.get("Created") or 0), item["Id"]))
    return replies.json(call, [_as_version(item, call.version) for item in items])


async def _shared_sizes(call: Call[Cluster]) -> dict[str, int]:
    """Image id → bytes that it shares with others, of the node that shares most; engines before 1.42 do not know."""

    async def ask(node: Node) -> list[dict[str, Any]]:
        answer = await node.engine.call(
            "GET", "/images/json", query="shared-size=1", deadline=WORK, version=call.version
        )
        return msgspec.json.decode(answer.body, type=list[dict[str, Any]]) if answer.status == 200 else []

    nodes = [node for node in call.cluster.view.nodes.values() if node.healthy]
    sizes: dict[str, int] = {}
    for part in await asyncio.gather(*map(ask, nodes), return_exceptions=True):
        for one in part if isinstance(part, list) else ():
            sizes[one["Id"]] = max(sizes.get(one["Id"], -1), int(one.get("SharedSize", -1)))
    return sizes


def _as_version(item: dict[str, Any], version: str) -> dict[str, Any]:
    """Dangling images are spelt with <none> up to 1.42."""
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) > (1, 42):
        return item
    if not item["RepoTags"] and not item["RepoDigests"]:
        return {**item, "RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]}
    return {**item, "RepoDigests": item["RepoDigests"] or None}


def _matching_tags(item: dict[str, Any], patterns: list[str]) -> dict[str, Any] | None:
    globs = ("".join(_GLOB.get(one, re.escape(one)) for one in each) for each in patterns)
    tests = [pattern.fullmatch(glob) for glob in globs]
    tags = [tag for tag in item["RepoTags"] if any(_familiar(test, tag) for test in tests)]
    return {**item, "RepoTags": tags} if tags else None


def _familiar(test: Callable[[str], bool], tag: str) -> bool:
    return test(tag) or test(tag.rpartition(":")[0])


def _created(cluster: Cluster, reference: str) -> int:
    found = image.resolve(cluster, reference)
    return next(
        int(node.images[found.id].get("Created") or 0)
        for node in cluster.view.nodes.values()
        if found.id in node.images
    )


async def _found(call: Call[Cluster]) -> tuple[Image, Node]:
    """The image that the path names, and a node that answers for it."""
    reference = call.params["image"]
    found = await image.seek(call.cluster, reference)
    return found, min(_holders(call.cluster, reference, found), key=lambda node: node.name)


def _holders(cluster: Cluster, reference: str, found: Image) -> list[Node]:
    """Healthy nodes that have it, at least one. Raises EngineUnreachable."""
    nodes = image.holders(cluster, found.id)
    if not nodes:
        raise EngineUnreachable(f"No such image: {reference}", reason="its nodes do not answer")
    return nodes


def _path(call: Call[Cluster], node: Node, found: Image) -> str:
    """The call's path with a name that this node's engine knows."""
    listed = node.images.get(found.id, {})
    name = found.reference if found.reference in image.tags(listed) or found.digest else found.id
    return call.path_with(quote(name, safe="/:@"))


async def inspect(call: Call[Cluster]) -> web.StreamResponse:
    found, node = await _found(call)
    answer = await node.engine.call("GET", _path(call, node, found), query=call.query.raw, version=call.version)
    if answer.status != 200:
        raise failed(answer.status, answer.body, node)
    body: dict[str, Any] = msgspec.json.decode(answer.body)
    body["RepoTags"] = merged(call.cluster).get(found.id, {}).get("RepoTags", body.get("RepoTags"))
    return replies.json(call, body)


async def of_one(call: Call[Cluster]) -> web.StreamResponse:
    """history, get, push: passed to one node that has the image."""
    found, node = await _found(call)
    return await passthrough(call, node.engine, _path(call, node, found))


async def push(call: Call[Cluster]) -> web.StreamResponse:
    reference = references.parse(call.params["image"])
    if not reference.tag and (tag := call.query.get("tag")):
        reference = references.Reference(reference.name, tag, "")
    try:
        found = await image.seek(call.cluster, reference.familiar)
    except NotFound:  # an engine says so under status 200, in the stream
        return await passthrough(call, _a_node(call.cluster).engine, call.path)
    for node in image.holders(call.cluster, found.id):
        if found.reference in image.tags(node.images[found.id]):
            return await passthrough(call, node.engine, call.path)
    raise NotFound(f"An image does not exist locally with the tag: {reference.name}")


async def save_many(call: Call[Cluster]) -> web.StreamResponse:
    """From a node that has all of them; when none has, what it lacks is copied to it first."""
    cluster = call.cluster
    names = call.query.all("names")
    if not names:
        raise BadRequest("invalid reference format")
    found = [await image.seek(cluster, name) for name in names]
    nodes = [node for node in cluster.view.nodes.values() if node.healthy]
    if not nodes:
        raise ServerError("No healthy node available in the cluster")
    node = max(nodes, key=lambda node: (sum(one.id in node.images for one in found), node.name))
    for one in found:
        await image.ensure(cluster, node, one)
    return await passthrough(call, node.engine, call.path)


async def tag(call: Call[Cluster]) -> web.StreamResponse:
    cluster = call.cluster
    found, _ = await _found(call)
    repo, label = call.query.get("repo"), call.query.get("tag")
    reference = references.parse(f"{repo}:{label}" if label else repo)
    if reference.digest:
        raise BadRequest("refusing to create a tag with a digest reference")
    nodes = image.holders(cluster, found.id)
    await asyncio.gather(*(image.tag(node, found.id, reference.familiar) for node in nodes))
    await asyncio.gather(*(cluster.view.refresh_images(node.id) for node in nodes))
    await image.remember(cluster, [(reference.familiar, found.id)])
    return replies.empty(call, 201)


async def remove(call: Call[Cluster]) -> web.StreamResponse:
    """All members are asked for names and users before any is touched, anew: names are given through other proxies."""
    cluster, reference = call.cluster, call.params["image"]
    await everywhere.look_again(cluster, cluster.view.relist, cluster.view.refresh_images, seconds=LOOK_SECONDS)
    found = image.resolve(cluster, reference)
    doomed, last = _doomed(cluster, reference, found)
    if last:
        _refuse_used(cluster, found, reference, call.query.flag("force"))
    results = await asyncio.gather(*(_remove_on(call, *one) for one in doomed), return_exceptions=True)
    await asyncio.gather(*(cluster.view.refresh_images(node.id) for node, _ in doomed), return_exceptions=True)
    done = [one for one in results if isinstance(one, list)]
    errors = [one for one in results if isinstance(one, BaseException)]
    if errors and not done:
        raise errors[0]
    for tag_name in [one for one, held in list(cluster.records.images.items()) if held.value.id == found.id]:
        if not any(tag_name in image.tags(node.images.get(found.id, {})) for node in cluster.view.nodes.values()):
            await image.forget(cluster, tag_name)
    items = {msgspec.json.encode(item): item for one in done for item in one}
    return replies.json(call, list(items.values()))


def _doomed(cluster: Cluster, reference: str, found: Image) -> tuple[list[tuple[Node, str]], bool]:
    """(nodes, each with the name to remove there; whether the image itself goes).

    A name is removed where it is one. An engine that is told the id drops every name of the image, so it is told the
    id only where no name is left, or when the client said the id.
    """
    holders = _holders(cluster, reference, found)
    tags = {node.id: image.tags(node.images[found.id]) for node in holders}
    last = all(len(names) <= 1 for names in tags.values())
    if found.digest:
        return [(node, found.reference) for node in holders], last
    named, only = image.of_one_node(cluster, reference)
    if only is not None:
        return [(only, references.parse(named).familiar)], len(image.tags(only.images[found.id])) <= 1
    if not found.reference:
        return [(node, found.id) for node in holders], True
    doomed = [(node, found.reference) for node in holders if found.reference in tags[node.id]]
    return doomed + [(node, found.id) for node in holders if last and not tags[node.id]], last


def _refuse_used(cluster: Cluster, found: Image, reference: str, force: bool) -> None:
    user: Entry | None = next((entry for entry in cluster.view.entries(True) if entry.image_id == found.id), None)
    if user is None:
        return
    short = found.id.removeprefix("sha256:")[:12]
    if user.running:
        if found.reference and force:
            return  # an engine untags an image that is in use when it is forced to
        verb = (
            f'remove repository reference "{reference}" (must force)'
            if found.reference
            else (f"delete {short} (cannot be forced)")
        )
        state = "is using its referenced image" if found.reference else "is using running container"
        if not found.reference:
            raise Conflict(
                f"conflict: unable to {verb} - image is being used by running container {user.id[:12]}",
                node=user.node.name,
            )
        raise Conflict(f"conflict: unable to {verb} - container {user.id[:12]} {state} {short}", node=user.node.name)
    if not force:
        what = f'remove repository reference "{reference}"' if found.reference else f"delete {short}"
        used = (
            f"container {user.id[:12]} is using its referenced image {short}"
            if found.reference
            else (f"image is being used by stopped container {user.id[:12]}")
        )
        raise Conflict(f"conflict: unable to {what} (must force) - {used}", node=user.node.name)


async def _remove_on(call: Call[Cluster], node: Node, name: str) -> list[dict[str, str]]:
    path = call.path_with(quote(name, safe="/:@"))
    answer = await node.engine.call("DELETE", path, query=call.query.raw, deadline=LASTING, version=call.version)
    if answer.status == 404:
        return []
    if answer.status != 200:
        raise failed(answer.status, answer.body, node)
    return msgspec.json.decode(answer.body, type=list[dict[str, str]])


def _a_node(cluster: Cluster) -> Node:
    """Where a new image goes first: a healthy node, by name, so that layers gather in one place."""
    nodes = [node for node in cluster.view.nodes.values() if node.healthy and node.member.availability == "active"]
    if not nodes:
        raise ServerError("No healthy node available in the cluster")
    return min(nodes, key=lambda node: node.name)


async def create(call: Call[Cluster]) -> web.StreamResponse:
    """Pull (fromImage) and import (fromSrc): one node does it; the progress says which."""
    cluster, query = call.cluster, call.query
    node = _a_node(cluster)
    headers = [
        (key, value)
        for key, value in call.request.headers.items()
        if key.lower() in ("x-registry-auth", "content-type")
    ]
    body: AsyncIterator[bytes] | None = None
    if query.get("fromSrc"):
        body = call.request.content.iter_any()
    elif not query.get("fromImage"):
        raise BadRequest("invalid reference format")
    else:
        whole = query.get("fromImage") + (f":{query.get('tag')}" if query.get("tag") else "")
        if ":" not in query.get("tag"):  # a digest comes in the tag's place
            references.parse(whole)
    return await _progress(call, node, "/images/create", headers, body)


async def load(call: Call[Cluster]) -> web.StreamResponse:
    headers = [(key, value) for key, value in call.request.headers.items() if key.lower() == "content-type"]
    return await _progress(
        call, _a_node(call.cluster), "/images/load", headers, call.request.content.iter_any(), told=False
    )


async def _progress(
    call: Call[Cluster],
    node: Node,
    path: str,
    headers: list[tuple[str, str]],
    body: AsyncIterator[bytes] | None,
    *,
    told: bool = True,
) -> web.StreamResponse:
    """Passes a progress stream on; the names that it made mean the new images before its end is sent."""
    async with node.engine.stream(
        "POST", path, query=call.query.raw, body=body, headers=headers, deadline=BULK, version=call.version
    ) as answer:
        if answer.status != 200:
            raise failed(answer.status, await answer.read(), node)
        reply = web.StreamResponse(status=200, headers={"Content-Type": "application/json", **call.headers})
        reply.enable_chunked_encoding()
        await reply.prepare(call.request)
        if told and call.query.get("fromImage"):
            await reply.write(
                msgspec.json.encode({"status": f"{node.name}: pulling {call.query.get('fromImage')}"}) + b"\r\n"
            )
        try:
            async for chunk in answer.chunks():
                await reply.write(chunk)
        except EngineUnreachable as error:
            line = {"errorDetail": {"message": str(error)}, "error": str(error)}
            await reply.write(msgspec.json.encode(line) + b"\r\n")
        else:
            try:
                await image.learn(call.cluster, node)
                await _mean(call, node)
            except DockerError as error:
                line = {"errorDetail": {"message": str(error)}, "error": str(error)}
                await reply.write(msgspec.json.encode(line) + b"\r\n")
        await reply.write_eof()
        return reply


async def _mean(call: Call[Cluster], node: Node) -> None:
    """A pull that found nothing new changes no tag on its node, yet says what the tag means from now on."""
    if not call.query.get("fromImage"):
        return
    text = call.query.get("fromImage")
    tag_name = call.query.get("tag")
    joint = "@" if ":" in tag_name else ":"
    reference = references.parse(f"{text}{joint}{tag_name}" if tag_name else text)
    for image_id, listed in node.images.items():
        if reference.familiar in image.tags(listed):
            await image.remember(call.cluster, [(reference.familiar, image_id)])
