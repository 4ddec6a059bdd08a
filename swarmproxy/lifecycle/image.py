"""Images: what a reference means in this cluster, and how an image reaches a node.

`images/REF` holds the id that a reference means, so that no replica runs an older image of the same tag. A create
resolves the reference once; the node that was chosen then gets that id under that tag: it has it, or it is tagged
there, or it is copied by a streamed save → load from a node that has it. No registry is asked, and 404 is said only
when no member has the image: clients pull on it.

Costs: resolving is a few dict look-ups; a copy costs what the two engines need for it (about 1 s per 100 MB here), is
shared by everyone who wants the same image on the same node, and never passes through memory whole.

save/load loses RepoDigests, therefore `name@sha256:…` is pulled by the node itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from swarmproxy.cluster.node import Node
from swarmproxy.discovery.store import Delete, ModIs, Put
from swarmproxy.engine.deadline import WORK
from swarmproxy.lifecycle import everywhere, references
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.lifecycle.refusal import failed
from swarmproxy.model import codec, keys
from swarmproxy.model.errors import BadRequest, EngineFailed, EngineUnreachable, NotFound
from swarmproxy.model.records import ImageRef

COPY_SECONDS = 600.0
SEEK_SECONDS = 1.0
LIST_SECONDS = 0.1
"""A list does not wait longer for an engine that hangs and is not known to."""


@dataclass(frozen=True, slots=True)
class Image:
    """A resolved image. `reference` is "" when the client named an id."""

    id: str
    reference: str
    digest: bool = False


def missing(text: str) -> NotFound:
    return NotFound(f"No such image: {text}")


def tags(image: dict[str, Any]) -> list[str]:
    return [tag for tag in image.get("RepoTags") or () if tag != "<none>:<none>"]


def holders(cluster: Cluster, image_id: str, *, healthy: bool = True) -> list[Node]:
    """Nodes that have the image."""
    return [node for node in cluster.view.nodes.values() if image_id in node.images and (not healthy or node.healthy)]


def resolve(cluster: Cluster, text: str) -> Image:
    """What a reference means. Raises NotFound (`No such image: …`), BadRequest (not a reference, ambiguous prefix)."""
    if references.is_id(text):
        image_id = "sha256:" + text.removeprefix("sha256:")
        if not holders(cluster, image_id, healthy=False):
            raise missing(text)
        return Image(id=image_id, reference="")
    named, node = of_one_node(cluster, text)
    try:
        reference = references.parse(named)
    except BadRequest:
        if (found := _by_prefix(cluster, text)) is not None:
            return found
        raise
    if reference.digest:
        return _by_digest(cluster, reference.familiar, text)
    familiar = reference.familiar
    if node is not None:
        for image_id, image in node.images.items():
            if familiar in tags(image):
                return Image(id=image_id, reference="")
        raise missing(text)
    held = cluster.records.images.get(familiar)
    if held is not None and holders(cluster, held.value.id, healthy=False):
        return Image(id=held.value.id, reference=familiar)
    newest = _newest_with_tag(cluster, familiar)
    if newest is not None:
        return Image(id=newest, reference=familiar)
    if not reference.tag and (found := _by_prefix(cluster, text)) is not None:
        return found
    raise missing(text if reference.tag else familiar)


async def seek(cluster: Cluster, text: str) -> Image:
    """As `resolve`; before NotFound store and engines are asked: another proxy may have brought it just now."""
    if not unseen(cluster, text):
        with contextlib.suppress(NotFound):
            return resolve(cluster, text)
    listed = everywhere.list_again(cluster, cluster.view.refresh_images, seconds=SEEK_SECONDS)
    await asyncio.gather(cluster.settle(), listed)
    return resolve(cluster, text)


def unseen(cluster: Cluster, text: str) -> bool:
    """Whether nodes and store do not agree yet about what it means.

    It means an image that no node is known to have (20.10 sends no event for what BuildKit made), or nodes have a name
    without a meaning (removed through another proxy, or brought behind our back, a moment ago).
    """
    try:
        familiar = references.parse(text).familiar
    except BadRequest:
        return False
    held = cluster.records.images.get(familiar)
    if held is None:
        return _newest_with_tag(cluster, familiar) is not None
    return not holders(cluster, held.value.id, healthy=False)


async def catch_up(cluster: Cluster) -> None:
    """Before a list: names that another proxy gave a meaning, or took it from, are looked for on the engines.

    One that no engine has, while all of them answer, means nothing any more and is forgotten.
    """
    await cluster.settle()
    lost = _lost(cluster)
    if not lost and not _has_strangers(cluster):
        return
    await everywhere.list_again(cluster, cluster.view.refresh_images, seconds=LIST_SECONDS)
    if all(node.healthy and node.ready for node in cluster.view.nodes.values()):
        for reference in lost & _lost(cluster):
            await forget(cluster, reference)


def _has_strangers(cluster: Cluster) -> bool:
    """Whether a node lists a name without a meaning; every name gets one within seconds."""
    known = cluster.records.images
    return any(
        tag not in known
        for node in cluster.view.nodes.values()
        for image in node.images.values()
        for tag in tags(image)
    )


def _lost(cluster: Cluster) -> set[str]:
    return {
        reference
        for reference, held in cluster.records.images.items()
        if not any(held.value.id in node.images for node in cluster.view.nodes.values())
    }


def of_one_node(cluster: Cluster, text: str) -> tuple[str, Node | None]:
    """`node-2/app:1` names an image that only node-2 has under a tag which means another image in the cluster."""
    first, slash, rest = text.partition("/")
    if slash and rest and (node := cluster.view.node(first)) is not None:
        return rest, node
    return text, None


def _newest_with_tag(cluster: Cluster, familiar: str) -> str | None:
    best: tuple[float, str] | None = None
    for node in cluster.view.nodes.values():
        for image_id, image in node.images.items():
            if familiar in tags(image):
                mark = (float(image.get("Created") or 0), image_id)
                best = mark if best is None or mark > best else best
    return best[1] if best else None


def _by_digest(cluster: Cluster, familiar: str, text: str) -> Image:
    for node in cluster.view.nodes.values():
        for image_id, image in node.images.items():
            if familiar in (image.get("RepoDigests") or ()):
                return Image(id=image_id, reference=familiar, digest=True)
    raise missing(text)


def _by_prefix(cluster: Cluster, text: str) -> Image | None:
    if not references.is_id_prefix(text):
        return None
    prefix = "sha256:" + text.removeprefix("sha256:")
    found = {image for node in cluster.view.nodes.values() for image in node.images if image.startswith(prefix)}
    if len(found) > 1:
        raise BadRequest(f"ambiguous image id prefix: {text}")
    return Image(id=found.pop(), reference="") if found else None


async def exposed_ports(cluster: Cluster, image_id: str) -> tuple[str, ...]:
    """Keys of the image's own ExposedPorts; asked once an image, since an id never changes its meaning."""
    known = cluster.exposed.get(image_id)
    if known is not None:
        return known
    for node in holders(cluster, image_id):
        answer = await node.engine.call("GET", f"/images/{image_id}/json")
        if answer.status == 200:
            config = msgspec.json.decode(answer.body).get("Config") or {}
            cluster.exposed[image_id] = tuple(config.get("ExposedPorts") or ())
            return cluster.exposed[image_id]
    return ()


def _split(reference: str) -> tuple[str, str]:
    repo, _, tag = reference.rpartition(":")
    return repo, tag


async def ensure(cluster: Cluster, node: Node, image: Image) -> None:
    """Brings the image to the node, under its reference. Does nothing when it is there."""
    here = node.images.get(image.id)
    if here is not None and (image.digest or not image.reference or image.reference in tags(here)):
        return
    key = f"{node.id} {image.id} {image.reference}"
    task = cluster.copies.get(key)
    if task is None:
        task = asyncio.create_task(_bring(cluster, node, image))
        cluster.copies[key] = task
        task.add_done_callback(lambda _: cluster.copies.pop(key, None))
    await asyncio.shield(task)


async def _bring(cluster: Cluster, node: Node, image: Image) -> None:
    if image.id in node.images:
        await tag(node, image.id, image.reference)
    elif image.digest:
        await _pull(node, image.reference)
    else:
        sources = [other for other in holders(cluster, image.id) if other is not node]
        if not sources:
            raise EngineUnreachable(f"No such image: {image.reference or image.id}", reason="its nodes do not answer")
        await _copy(sources[0], node, image)
    await cluster.view.refresh_images(node.id)
    if image.reference and not image.digest and image.reference not in tags(node.images.get(image.id, {})):
        await tag(node, image.id, image.reference)
        await cluster.view.refresh_images(node.id)


async def _copy(source: Node, target: Node, image: Image) -> None:
    """Streams save → load; the reference travels along when the source has it."""
    has_tag = image.reference in tags(source.images.get(image.id, {}))
    name = image.reference if has_tag else image.id
    async with asyncio.timeout(COPY_SECONDS):
        async with source.engine.stream("GET", f"/images/{quote(name, safe='/:@')}/get") as saved:
            if saved.status != 200:
                raise failed(saved.status, await saved.read(), source)
            async with target.engine.stream(
                "POST",
                "/images/load",
                query="quiet=1",
                body=saved.chunks(),
                headers={"Content-Type": "application/x-tar"},
            ) as loaded:
                reply = await loaded.read()
                if loaded.status != 200:
                    raise failed(loaded.status, reply, target)
                if b'"errorDetail"' in reply:
                    raise EngineFailed(_error_detail(reply), node=target.name, reason=f"copy of {name}")


async def _pull(node: Node, reference: str) -> None:
    async with node.engine.stream("POST", "/images/create", query=urlencode({"fromImage": reference})) as reply:
        body = await reply.read()
        if reply.status != 200:
            raise failed(reply.status, body, node)
        if b'"errorDetail"' in body:
            raise EngineFailed(_error_detail(body), node=node.name)


def _error_detail(body: bytes) -> str:
    last = body.strip().splitlines()[-1]
    try:
        return str(msgspec.json.decode(last)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return last.decode(errors="replace")


async def tag(node: Node, image_id: str, reference: str) -> None:
    repo, label = _split(reference)
    query = urlencode({"repo": repo, "tag": label})
    answer = await node.engine.call("POST", f"/images/{image_id}/tag", query=query, deadline=WORK)
    if answer.status != 201:
        raise failed(answer.status, answer.body, node)


async def remember(cluster: Cluster, meanings: Iterable[tuple[str, str]]) -> None:
    """Writes what references mean now: (reference, id)."""
    for reference, image_id in meanings:
        held = cluster.records.images.get(reference)
        if held is None or held.value.id != image_id:
            await cluster.txn([], [Put(keys.image(reference), codec.encode(ImageRef(id=image_id)))])


async def forget(cluster: Cluster, reference: str) -> None:
    """The tag is gone everywhere."""
    held = cluster.records.images.get(reference)
    if held is not None:
        await cluster.txn([ModIs(keys.image(reference), held.revision)], [Delete(keys.image(reference))])


async def learn(cluster: Cluster, node: Node, image_id: str = "") -> None:
    """An image came to a node under a new name: the node is listed again and its tags mean what they mean there.

    Args:
        image_id: only this image's tags; "" = every tag whose meaning on this node changed.
    """
    before = {tag: one for one, listed in node.images.items() for tag in tags(listed)}
    await cluster.view.refresh_images(node.id)
    changed = [
        (tag, one)
        for one, listed in node.images.items()
        for tag in tags(listed)
        if (one == image_id if image_id else before.get(tag) != one)
    ]
    await remember(cluster, changed)
