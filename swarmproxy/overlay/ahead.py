"""Addresses asked for ahead: while a proxy makes a container here, the address that its start will want is claimed.

A start waits for one answer of the store less (2 to 10 ms). The claim of a create names the overlays that the container
will join; what is claimed for them is nobody's in particular, and the next start on the network takes it. One that no
start has taken within `HELD` seconds is given back, so `docker create` alone holds nothing; somebody who asks for
exactly such an address gets it (`Ipam`). Small subnets are left alone: there each address counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from swarmproxy.discovery.store import Event, StoreError
from swarmproxy.model import keys
from swarmproxy.model.codec import decode
from swarmproxy.model.errors import DockerError
from swarmproxy.model.records import PENDING, Alloc
from swarmproxy.overlay.follow import Mirror, follow

__all__ = ["HELD", "MOST", "Ahead"]

log = logging.getLogger(__name__)

HELD = 5.0
"""Seconds."""
MOST = 4
"""Addresses of one network that are held ahead, at most."""


class Ahead:
    """`claim(nid)` claims the next free address, or "" where none is to be held; `give_back(nid, ip)` undoes it."""

    def __init__(
        self,
        *,
        mirror: Mirror,
        node: str,
        claim: Callable[[str], Awaitable[str]],
        give_back: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._claim = claim
        self._give_back = give_back
        self._ready: dict[str, list[str]] = {}
        self._asking: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = follow(mirror, keys.allocs(node), self._heard)

    def close(self) -> None:
        """What is held stays in the store: reconcile gives it back."""
        self._stop()
        for task in self._tasks:
            task.cancel()

    def take(self, nid: str) -> str:
        """An address that this node has got, the caller's from now on; "" when there is none."""
        ready = self._ready.get(nid)
        return ready.pop(0) if ready else ""

    def drop(self, nid: str, ip: str) -> bool:
        """Whether this address was held; it is not any more."""
        if ip not in self._ready.get(nid, ()):
            return False
        self._ready[nid].remove(ip)
        return True

    def _heard(self, event: Event) -> None:
        if event.kind != "put" or event.kv.create_revision != event.kv.mod_revision:
            return
        alloc = decode(Alloc, event.kv.value)
        for nid in alloc.networks if alloc is not None and alloc.state == PENDING else ():
            if len(self._ready.get(nid, ())) + self._asking.get(nid, 0) < MOST:
                self._asking[nid] = self._asking.get(nid, 0) + 1
                task = asyncio.create_task(self._hold(nid))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _hold(self, nid: str) -> None:
        try:
            ip = await self._claim(nid)
        except (StoreError, DockerError) as error:
            log.debug("no address held ahead on %s: %s", nid[:12], error)
            return
        finally:
            self._asking[nid] -= 1
        if not ip:
            return
        self._ready.setdefault(nid, []).append(ip)
        await asyncio.sleep(HELD)
        if self.drop(nid, ip):
            await self._give_back(nid, ip)
