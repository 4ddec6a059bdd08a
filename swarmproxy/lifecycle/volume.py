"""Volumes: a record first, a place later.

`volume create` writes only the record: Compose makes volumes before containers, and a place chosen then would fight the
constraints of the containers that come. The first container's claim makes its node the owner; from then on the data
steers placement. What engines held before us is theirs: the first claim owns the plain name, a second volume of that
name on another node is shown and addressed as `node/name`, and the two are never merged.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from swarmproxy.cluster.node import Node
from swarmproxy.discovery.store import Absent, Delete, ModIs, Put
from swarmproxy.engine.deadline import WORK
from swarmproxy.lifecycle import everywhere
from swarmproxy.lifecycle.body import go_error
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.lifecycle.refusal import failed
from swarmproxy.model import codec, keys
from swarmproxy.model.errors import BadRequest, NotFound
from swarmproxy.model.records import Volume

SEEK_SECONDS = 1.0
LIST_SECONDS = 0.1
"""A list does not wait longer for an engine that hangs and is not known to."""
ANONYMOUS = "com.docker.volume.anonymous"
"""Label that engines from 23.0 on give a volume without a name; older ones tell it by the name they made alone."""

FORGET_TRIES = 4

_NEEDS = {"type": ("device",), "device": ("type",), "o": ("device", "type"), "size": ()}
"""Options of the local driver → what each of them needs."""
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_ANONYMOUS = re.compile(r"[0-9a-f]{64}\Z")


class Shape(msgspec.Struct):
    Name: str | None = None
    Driver: str | None = None
    DriverOpts: dict[str, str] | None = None
    Labels: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Where a name leads: a record, a node's volume, or both."""

    name: str
    record: Volume | None
    node: Node | None


def missing(reference: str) -> NotFound:
    return NotFound(f"get {reference}: no such volume")


def anonymous(name: str) -> bool:
    """Made by an engine for one container: no record, never moved, never asked for by name."""
    return _ANONYMOUS.match(name) is not None


def check_name(name: str) -> None:
    if len(name) == 1:
        raise BadRequest(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.match(name):
        raise BadRequest(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )


def find(cluster: Cluster, reference: str) -> Found | None:
    """By name, or `node/name`. A name without a record is found where exactly one node has it."""
    first, slash, rest = reference.partition("/")
    if slash:
        node = cluster.view.node(first)
        if node is None or rest not in node.volumes:
            return None
        held = cluster.records.volumes.get(rest)
        owned = held.value if held and held.value.owner == node.id else None
        return Found(rest, owned, node)
    held = cluster.records.volumes.get(reference)
    if held is not None:
        return Found(reference, held.value, cluster.view.nodes.get(held.value.owner))
    owners = [node for node in cluster.view.nodes.values() if reference in node.volumes]
    return Found(reference, None, owners[0]) if len(owners) == 1 else None


async def seek(cluster: Cluster, reference: str) -> Found | None:
    """As `find`, after another proxy's last change of the volume has been seen."""
    if cluster.shared:
        await catch_up(cluster)
    return find(cluster, reference)


async def catch_up(cluster: Cluster, seconds: float = SEEK_SECONDS) -> None:
    """The store's last word; and nodes that list a volume without a record are asked whether it is still there."""
    await cluster.settle()
    known = cluster.records.volumes

    def doubtful(node: Node) -> bool:
        return any(name not in known and not anonymous(name) for name in node.volumes)

    await everywhere.list_again(cluster, cluster.view.refresh_volumes, seconds=seconds, where=doubtful)


async def look_again(cluster: Cluster) -> None:
    """Lists the volumes of all healthy nodes anew."""
    await everywhere.list_again(cluster, cluster.view.refresh_volumes, seconds=SEEK_SECONDS)


async def there(node: Node, name: str) -> bool:
    """Whether the engine has the volume right now. Raises EngineUnreachable, or the engine's own error."""
    answer = await node.engine.call("GET", f"/volumes/{name}")
    if answer.status not in (200, 404):
        raise failed(answer.status, answer.body, node)
    return answer.status == 200


async def create(cluster: Cluster, data: bytes) -> Volume:
    """The record of a new volume, or of the one that has the name already (new options are then ignored, as ever).

    Raises:
        BadRequest: bad JSON or name. NotFound: unknown driver.
    """
    try:
        shape = msgspec.json.decode(data or b"{}", type=Shape)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise go_error(error) from None
    name = shape.Name or secrets.token_hex(32)
    check_name(name)
    driver = shape.Driver or "local"
    labels = (shape.Labels or {}) | ({} if shape.Name else {ANONYMOUS: ""})
    if driver == "local":
        _check_options(name, shape.DriverOpts or {})
    elif not _has_driver(cluster, driver):
        raise NotFound(f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found')
    record = Volume(
        name=name,
        driver=driver,
        opts=shape.DriverOpts or {},
        labels=labels,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    # the store decides: what this proxy still knows may have been removed through another one
    await cluster.txn([Absent(keys.volume(name))], [Put(keys.volume(name), codec.encode(record))])
    held = cluster.records.volumes.get(name)
    return held.value if held else record


def _check_options(name: str, opts: Mapping[str, str]) -> None:
    """What an engine's local driver would say; ours is asked for the volume only when its first container comes."""
    for key in opts:
        if key not in _NEEDS:
            raise BadRequest(f'create {name}: invalid option: "{key}"')
    for key, needed in _NEEDS.items():
        for other in needed if opts.get(key) else ():
            if not opts.get(other):
                raise BadRequest(f'create {name}: missing required option: "{other}"')


def _has_driver(cluster: Cluster, driver: str) -> bool:
    return any(driver in ((node.info.get("Plugins") or {}).get("Volume") or ()) for node in cluster.view.nodes.values())


async def ensure(cluster: Cluster, node: Node, name: str) -> None:
    """Makes a recorded volume on its owner, with its options and labels, before the first container mounts it."""
    held = cluster.records.volumes.get(name)
    if held is None or held.value.owner != node.id or name in node.volumes:
        return
    record = held.value
    body = {"Name": name, "Driver": record.driver, "DriverOpts": record.opts, "Labels": record.labels}
    answer = await node.engine.call(
        "POST",
        "/volumes/create",
        body=msgspec.json.encode(body),
        deadline=WORK,
        headers={"Content-Type": "application/json"},
    )
    if answer.status != 201:
        raise failed(answer.status, answer.body, node)
    await cluster.view.refresh_volumes(node.id)


async def remove(cluster: Cluster, reference: str, *, force: bool) -> None:
    """Removes data and record. Raises NotFound (unless forced) and the engine's own 409 when the volume is in use."""
    found = await seek(cluster, reference)
    if found is None:
        if force:
            return
        raise missing(reference)
    if found.node is not None:
        answer = await found.node.engine.call(
            "DELETE", f"/volumes/{found.name}", query="force=1" if force else "", deadline=WORK
        )
        if answer.status not in (204, 404):
            raise failed(answer.status, answer.body, found.node)
        await cluster.view.refresh_volumes(found.node.id)
    if found.record is not None:
        await forget(cluster, found.name)


async def forget(cluster: Cluster, name: str) -> None:
    """The volume is gone: so is its record, also one that another proxy has just made by adoption."""
    key = keys.volume(name)
    for _ in range(FORGET_TRIES):
        kv = await cluster.reach(cluster.store.get(key))
        if kv is None or (await cluster.txn([ModIs(key, kv.mod_revision)], [Delete(key)])).ok:
            return


def shown(cluster: Cluster, node: Node, volume: dict[str, Any]) -> dict[str, Any]:
    """A node's volume as lists show it: plain name for the owner of the name, else `node/name`."""
    name = str(volume.get("Name"))
    held = cluster.records.volumes.get(name)
    if held is not None:
        plain = held.value.owner == node.id
    else:
        plain = all(other is node or name not in other.volumes for other in cluster.view.nodes.values())
    return volume if plain else {**volume, "Name": f"{node.name}/{name}"}
