"""The overlays this node carries: opened once, fed in order, closed when the last network copy goes.

Lives on the main loop and hands all kernel work to the netlink thread. Changes of one overlay are programmed by one
task, in order and as many at a time as have come in, so a burst costs one batch. Entries that the kernel refused are
logged and put right by the next `resync`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from swarmproxy.overlay.forwarding import Change, Forwarding
from swarmproxy.overlay.namespace import is_mounted
from swarmproxy.overlay.netlink import Netlink
from swarmproxy.overlay.state import LocalNetwork
from swarmproxy.overlay.vxlan import Segment, Underlay, remove, stray_veths

__all__ = ["FOLDER", "Segments"]

log = logging.getLogger(__name__)

FOLDER = Path("/run/swarmproxy/netns")


class Segments:
    """`opened(nid, segment)` is awaited after an overlay is there, `closed(nid)` before it goes: DNS hangs on them."""

    def __init__(
        self,
        *,
        netlink: Netlink,
        underlay: Underlay,
        table: Callable[[str], Forwarding],
        folder: Path = FOLDER,
    ) -> None:
        self._netlink = netlink
        self._underlay = underlay
        self._table = table
        self._folder = folder
        self._segments: dict[str, Segment] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, list[Change]] = {}
        self._feeders: dict[str, asyncio.Task[None]] = {}
        self.opened: Callable[[str, Segment], Awaitable[None]] | None = None
        self.closed: Callable[[str], None] | None = None

    def get(self, nid: str) -> Segment | None:
        return self._segments.get(nid)

    @property
    def carried(self) -> list[str]:
        return list(self._segments)

    async def ensure(self, spec: LocalNetwork) -> Segment:
        """Makes or adopts the overlay's devices. Raises OSError or pyroute2's NetlinkError."""
        async with self._locks.setdefault(spec.nid, asyncio.Lock()):
            if found := self._segments.get(spec.nid):
                return found
            path = self._folder / str(spec.vni)
            segment = Segment(spec, path, host=self._netlink.host, underlay=self._underlay)
            adopted = is_mounted(path)
            try:
                await self._netlink.run(segment.ensure())
            except BaseException:
                await self._netlink.run(segment.release() if adopted else segment.destroy())
                raise
            self._segments[spec.nid] = segment
            if self.opened is not None:
                await self.opened(spec.nid, segment)
            return segment

    async def drop(self, nid: str) -> None:
        async with self._locks.setdefault(nid, asyncio.Lock()):
            segment = self._segments.pop(nid, None)
            self._waiting.pop(nid, None)
            if segment is None:
                return
            if self.closed is not None:
                self.closed(nid)
            await self._netlink.run(segment.destroy())

    async def plug(self, nid: str, endpoint_id: str, mac: str) -> None:
        await self._netlink.run(self._segments[nid].plug(endpoint_id, mac))

    async def unplug(self, nid: str, endpoint_id: str) -> None:
        """The endpoint's veth goes; an overlay not carried here has none."""
        if segment := self._segments.get(nid):
            await self._netlink.run(segment.unplug(endpoint_id))

    # ------------------------------------------------------------------------------------------- forwarding
    def changed(self, nid: str, changes: list[Change]) -> None:
        """Queues changes of one overlay."""
        if nid not in self._segments:
            return  # `resync` brings all of them when it is opened
        self._waiting.setdefault(nid, []).extend(changes)
        if nid not in self._feeders:
            task = self._feeders[nid] = asyncio.create_task(self._feed(nid))
            task.add_done_callback(lambda _: self._feeders.pop(nid, None))

    async def _feed(self, nid: str) -> None:
        while (changes := self._waiting.pop(nid, None)) and (segment := self._segments.get(nid)):
            try:
                refused = await self._netlink.run(segment.forward(changes))
            except OSError as error:
                log.error("overlay %s: %d changes not programmed: %s", nid[:12], len(changes), error)
                return
            for each in refused:
                log.error("overlay %s: %s", nid[:12], each)

    async def resync(self, nid: str) -> int:
        """Makes the kernel's forwarding entries equal to the records; how many differed."""
        segment = self._segments.get(nid)
        if segment is None:
            return 0
        table = self._table(nid)
        want = Forwarding(table.node)  # a snapshot: the table belongs to this loop, the work to the other thread
        want.routes, want.neighbours = dict(table.routes), dict(table.neighbours)
        changed, refused = await self._netlink.run(segment.resync(want))
        for each in refused:
            log.error("overlay %s: %s", nid[:12], each)
        return changed

    # ------------------------------------------------------------------------------------------- leftovers
    async def sweep(self, known: dict[str, str], young: set[str]) -> int:
        """Deletes veths of no known endpoint; how many.

        Args:
            known: endpoint id → nid of all local endpoints.
            young: first eight hex digits of devices that were strays at the last sweep already; rewritten here. A stray
                must be seen twice, so that an endpoint being made is not taken apart.
        """
        strays: dict[str, Callable[[], Awaitable[None]]] = {}
        host = self._netlink.host
        for index, name in await self._netlink.run(stray_veths(host, known)):
            strays[name[3:]] = lambda index=index: self._netlink.run(remove(host, index))  # type: ignore[misc]
        mine = {endpoint_id[:8] for endpoint_id in known}
        for segment in list(self._segments.values()):
            for short in await self._netlink.run(segment.plugged()) - mine:
                strays[short] = lambda segment=segment, short=short: self._netlink.run(segment.unplug(short))  # type: ignore[misc]
        due = strays.keys() & young
        young.clear()
        young.update(strays.keys() - due)
        for short in due:
            await strays[short]()
        return len(due)

    async def close(self) -> None:
        """Lets go of everything and leaves the devices."""
        for task in list(self._feeders.values()):
            task.cancel()
        for nid, segment in list(self._segments.items()):
            if self.closed is not None:
                self.closed(nid)
            await self._netlink.run(segment.release())
        self._segments.clear()
