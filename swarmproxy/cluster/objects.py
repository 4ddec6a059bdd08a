"""Images, volumes and networks of one engine: few, so they are kept as the engine's own list items, by id or name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from swarmproxy.cluster.meeting import ALL, read
from swarmproxy.cluster.node import Node
from swarmproxy.cluster.relist import Relist
from swarmproxy.cluster.totals import Totals
from swarmproxy.engine.deadline import WORK
from swarmproxy.model.errors import DockerError

Item = dict[str, Any]


class Objects:
    """Fills `node.images`, `node.volumes` and `node.networks`.

    Args:
        changed: called after the networks were listed: the translation of their ids may have changed.
    """

    def __init__(self, node: Node, totals: Totals, changed: Callable[[Node], None]) -> None:
        self._node = node
        self._totals = totals
        self._changed = changed
        self.images = Relist(self._images)
        self.volumes = Relist(self._volumes)
        self.networks = Relist(self._networks)

    def poke(self) -> None:
        for one in (self.images, self.volumes, self.networks):
            one.poke()

    def abandon(self, error: DockerError) -> None:
        for one in (self.images, self.volumes, self.networks):
            one.abandon(error)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for one in (self.images, self.volumes, self.networks):
                group.create_task(one.run())

    async def _images(self) -> None:
        items = read(
            await self._node.engine.call("GET", "/images/json", query=ALL, deadline=WORK), list[Item], self._node
        )
        before = self._node.images
        self._node.images = {str(item.get("Id")): item for item in items}
        self._totals.images_changed(before, self._node.images)

    async def _volumes(self) -> None:
        body = read(await self._node.engine.call("GET", "/volumes", deadline=WORK), Item, self._node)
        self._node.volumes = {str(item.get("Name")): item for item in body.get("Volumes") or ()}

    async def _networks(self) -> None:
        items = read(await self._node.engine.call("GET", "/networks", deadline=WORK), list[Item], self._node)
        self._node.networks = {str(item.get("Id")): item for item in items}
        self._changed(self._node)
