"""Adoption of networks, volumes and images: what engines hold beside containers gets its record.

A user-defined network that an engine had before becomes a LOCAL one that lives there; a named volume gets an owner; a
tag gets its meaning. The first record owns the plain name. Anonymous volumes (64 hex digits) stay without a record:
they never move and nobody asks for them by name.

Looked at every 2 s, but only where an engine has listed anew since; without news a round costs a comparison a node.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import msgspec

from swarmproxy.cluster.node import Node
from swarmproxy.discovery.store import Absent, Compare, Delete, ModIs, Op, Put
from swarmproxy.lifecycle import claims, image, network, volume
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model import codec, keys, options
from swarmproxy.model.errors import DockerError
from swarmproxy.model.records import LOCAL, ImageRef, Network, NetworkCopy, Subnet, Volume

log = logging.getLogger(__name__)

ROUND_SECONDS = 2.0
SETTLED_SECONDS = 5.0
"""A network younger than this may be a copy whose `netnodes` record is on its way."""

OF_THE_ENGINE = (*options.PREDEFINED, "docker_gwbridge")


class Objects:
    """Runs beside the requests; `run` until cancelled."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._seen: dict[tuple[str, str], object] = {}

    async def run(self) -> None:
        while True:
            if self._cluster.cache.lost_since is None:
                for node in sorted(self._cluster.view.nodes.values(), key=lambda node: node.id):
                    try:
                        await self._adopt(node)
                    except DockerError as error:
                        log.debug("adoption of objects on %s waits: %s", node.name, error)
                    except Exception:
                        log.exception("adoption of objects on %s failed", node.name)
            await asyncio.sleep(ROUND_SECONDS)

    async def _adopt(self, node: Node) -> None:
        if not node.ready:
            return
        for kind, held, adopt in (
            ("volumes", node.volumes, self._volumes),
            ("images", node.images, self._images),
            ("networks", node.networks, self._networks),
        ):
            mark = tuple(held)
            if self._seen.get((node.id, kind)) == mark and kind != "networks":
                continue
            await adopt(node)
            self._seen[node.id, kind] = mark if kind != "images" else None

    async def _volumes(self, node: Node) -> None:
        for name, listed in list(node.volumes.items()):
            held = self._cluster.records.volumes.get(name)
            if volume.anonymous(name) or (held is not None and held.value.owner):
                continue
            if not await volume.there(node, name):
                continue  # removed through another proxy, and not listed anew yet
            key = keys.volume(name)
            if held is None:
                record = Volume(
                    name=name,
                    driver=str(listed.get("Driver") or "local"),
                    opts=listed.get("Options") or {},
                    labels=listed.get("Labels") or {},
                    owner=node.id,
                    created=str(listed.get("CreatedAt") or ""),
                    adopted=True,
                )
                made = await self._cluster.txn([Absent(key)], [Put(key, codec.encode(record))])
            else:
                moved = claims.replace_owner(held.value, node.id)
                made = await self._cluster.txn([ModIs(key, held.revision)], [Put(key, codec.encode(moved))])
            if made.ok and not await volume.there(node, name):  # removed in between: its remover saw no record of ours
                undo: Op = Delete(key) if held is None else Put(key, codec.encode(held.value))
                await self._cluster.txn([ModIs(key, made.revision)], [undo])

    async def _images(self, node: Node) -> None:
        if not self._unmeant(node):
            return
        await self._cluster.view.refresh_images(node.id)  # removed through another proxy, and not listed anew yet?
        made: list[tuple[str, str, int]] = []
        for tag, image_id in self._unmeant(node):
            key = keys.image(tag)
            put = await self._cluster.txn([Absent(key)], [Put(key, codec.encode(ImageRef(id=image_id)))])
            if put.ok:
                made.append((tag, image_id, put.revision))
        if made:
            await self._cluster.view.refresh_images(node.id)
        for tag, image_id, revision in made:
            if tag not in image.tags(node.images.get(image_id, {})):  # in between: its remover saw no record of ours
                await self._cluster.txn([ModIs(keys.image(tag), revision)], [Delete(keys.image(tag))])

    def _unmeant(self, node: Node) -> list[tuple[str, str]]:
        """(tag, image id) of tags on the node that mean nothing in the cluster yet."""
        known = self._cluster.records.images
        return [(tag, one) for one, listed in node.images.items() for tag in image.tags(listed) if tag not in known]

    async def _networks(self, node: Node) -> None:
        for local_id, listed in list(node.networks.items()):
            name = str(listed.get("Name"))
            if name in OF_THE_ENGINE or local_id in self._cluster.records.networks:
                continue
            if self._cluster.records.network_of(node.id, local_id) is not None:
                continue
            marks = (listed.get("Options") or {}) | (listed.get("Labels") or {})
            copy_of = marks.get(options.NETWORK_ID) or marks.get(options.LABEL_NETWORK)
            if copy_of is not None:
                await self._copy(node, local_id, copy_of)
            elif (
                listed.get("Driver") != options.DRIVER
                and self._old_enough(node, local_id)
                and await network.exists(node, local_id)  # else removed through another proxy, and not listed anew yet
            ):
                await self._local(node, local_id, listed)
                if not await network.exists(node, local_id):
                    await network.forget(self._cluster, local_id)

    def _old_enough(self, node: Node, local_id: str) -> bool:
        first = self._seen.setdefault((node.id, local_id), time.monotonic())
        return isinstance(first, float) and time.monotonic() - first >= SETTLED_SECONDS

    async def _copy(self, node: Node, local_id: str, network_id: str) -> None:
        """A copy whose record was lost with the proxy that made it."""
        held = self._cluster.records.networks.get(network_id)
        if held is None or not self._old_enough(node, local_id):
            return
        key = keys.netnode(network_id, node.id)
        await self._cluster.txn(
            [Absent(key), ModIs(keys.network(network_id), held.revision)],
            [Put(key, codec.encode(NetworkCopy(id=local_id)))],
        )

    async def _local(self, node: Node, local_id: str, listed: dict[str, Any]) -> None:
        name = str(listed["Name"])
        body = {
            field: listed.get(field)
            for field in ("Name", "Driver", "EnableIPv6", "IPAM", "Internal", "Attachable", "Options", "Labels")
        }
        configs = (listed.get("IPAM") or {}).get("Config") or []
        record = Network(
            id=local_id,
            name=name,
            mode=LOCAL,
            home=node.id,
            subnets=[Subnet(cidr=one.get("Subnet", ""), gateway=one.get("Gateway", "")) for one in configs],
            internal=bool(listed.get("Internal")),
            ipv6=bool(listed.get("EnableIPv6")),
            labels=listed.get("Labels") or {},
            body=msgspec.Raw(msgspec.json.encode(body)),
            created=str(listed.get("Created") or ""),
        )
        compares: list[Compare] = [Absent(keys.network(local_id))]
        ops: list[Op] = [
            Put(keys.network(local_id), codec.encode(record)),
            Put(keys.netnode(local_id, node.id), codec.encode(NetworkCopy(id=local_id))),
        ]
        named: list[Op] = [Put(keys.netname(name), local_id.encode())]
        if not (await self._cluster.txn([*compares, Absent(keys.netname(name))], ops + named)).ok:
            await self._cluster.txn(compares, ops)
