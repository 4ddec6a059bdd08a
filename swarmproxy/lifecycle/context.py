"""What every saga works on: the store side, the view side, and how this proxy places things.

Assembled once by proxy.py and passed down; nothing here starts anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from swarmproxy.cluster.records import Records
from swarmproxy.cluster.view import View
from swarmproxy.discovery.cache import Cache
from swarmproxy.discovery.session import Session
from swarmproxy.discovery.store import Compare, Op, Store, StoreError, TxnResult
from swarmproxy.lifecycle.buildsession import BuildSessions
from swarmproxy.lifecycle.saga import Failpoints
from swarmproxy.model import keys
from swarmproxy.model.errors import DockerError, EngineUnreachable, StoreLost
from swarmproxy.scheduler.filters import FILTERS, Filter
from swarmproxy.scheduler.strategies import Strategy

log = logging.getLogger(__name__)

T = TypeVar("T")
Undo = Callable[[], Awaitable[object]]

SEEN_SECONDS = 2.0
AGENT_SECONDS = 1.5
AGAIN_SECONDS = (0.1, 2.0)
"""Shortest and longest pause between two tries to give something back."""
SETTLE_SECONDS = 0.5
LEASE_MARGIN = 1.5
"""Seconds a lease must have left before something is hung on it."""


@dataclass(slots=True, kw_only=True)
class Cluster:
    """The cluster as one proxy works on it.

    Args:
        shared: several proxies may use this store; False = this one owns an embedded store.
        pool: CIDR that subnets without a wish are taken from.
    """

    store: Store
    cache: Cache
    session: Session
    records: Records
    view: View
    proxy_id: str
    strategy: Strategy
    strategy_name: str = "spread"
    filters: Sequence[Filter] = FILTERS
    failpoints: Failpoints = field(default_factory=Failpoints)
    shared: bool = True
    pool: str = "10.128.0.0/9"
    started: float = 0.0
    locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """Per node: proxies race through the store, one proxy's own requests queue here and do not spoil each other."""
    copies: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """Images on their way to a node, shared by all who wait for one."""
    exposed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Image id → ports that the image exposes."""
    builds: BuildSessions = field(default_factory=BuildSessions)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def lease(self) -> int:
        """The lease that pending claims hang on. Raises StoreLost when it does not surely live long enough."""
        if self.session.remaining() < LEASE_MARGIN:
            raise StoreLost("cluster store unavailable: the session of this proxy is not renewed")
        return self.session.lease

    def resolvers(self, node_id: str) -> list[str]:
        """The DNS servers of a host, as its agent told them."""
        held = self.records.agents.get(node_id)
        return list(held.value.resolvers) if held else []

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Runs `work` beside the requests; its failure is logged, `close` ends it."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    async def agents_back(self) -> None:
        """Waits a moment for agents whose lease has just ended.

        A store that was silent for longer than a lease forgets them all when it speaks again, and they register anew.
        """
        changed = asyncio.Event()
        stop = self.view.on_node(lambda _: changed.set())
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGENT_SECONDS):
                    while self._agents_went():
                        changed.clear()
                        await changed.wait()
        finally:
            stop()

    def _agents_went(self) -> bool:
        recently = time.monotonic() - AGENT_SECONDS
        return any(not node.agent_alive and node.agent_lost > recently for node in self.view.nodes.values())

    async def surely(self, work: Undo) -> None:
        """Does `work`; if it fails, it is done again until store and engine answer, and the failure is raised.

        For what must be given back: it may hang on this proxy's session, which lives on, so no lease would end it.
        """
        try:
            await work()
        except (DockerError, asyncio.CancelledError):
            self.spawn(self._again(work))
            raise

    async def _again(self, work: Undo) -> None:
        pause = AGAIN_SECONDS[0]
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 2, AGAIN_SECONDS[1])
            try:
                await work()
                return
            except (StoreLost, EngineUnreachable) as error:
                log.debug("given back later: %s", error)
            except DockerError as error:
                log.warning("not given back: %s", error)
                return

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("background work failed", exc_info=error)

    async def close(self) -> None:
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        """One transaction, seen by this proxy's own cache before it returns. Raises StoreLost (503)."""
        result = await self.reach(self.store.txn(compares, ops))
        await self.cache.reached(result.revision, SEEN_SECONDS)
        return result

    async def settle(self) -> None:
        """Catches up with what other proxies have written until now: one round trip, before a 404 is said.

        With the store away, or silent, what is known stays what is known: lists come here, too.
        """
        if self.cache.lost_since is not None:
            return
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                revision, _ = await self.store.list(keys.META)
            await self.cache.reached(revision, SEEN_SECONDS)

    async def reach(self, work: Awaitable[T]) -> T:
        """A store's answer, or 503 with the store's own reason."""
        try:
            return await work
        except StoreError as error:
            raise StoreLost(f"cluster store unavailable: {error}") from None
