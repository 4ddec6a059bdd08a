"""Keeps one node true to its engine: meets it, listens first and lists then, refreshes what events touch, reconciles.

One monitor per engine and nothing shared between them but the catalog, so a sick engine delays nobody. The order of
truth is the ledger's; health is decided by the pure step and fed by every call that anybody makes. A periodic list
mends what a gap in the events left wrong. Cost of a quiet engine: a ping every 2 s and four lists every 30 to 60 s.
Not here: which engines there are (view), what an event means (feed).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from swarmproxy.cluster import health
from swarmproxy.cluster.catalog import Catalog
from swarmproxy.cluster.entry import Agrees, Entry, identity
from swarmproxy.cluster.events import EventHub
from swarmproxy.cluster.feed import NEWEST, Feed
from swarmproxy.cluster.health import Action, Seen, State
from swarmproxy.cluster.lately import Lately
from swarmproxy.cluster.meeting import ALL, ids_query, meet, read_items
from swarmproxy.cluster.node import Node
from swarmproxy.cluster.objects import Objects
from swarmproxy.cluster.refresh import Fetch, Ledger
from swarmproxy.engine.client import Observation
from swarmproxy.engine.deadline import STREAM, WORK, Deadline
from swarmproxy.model.errors import DockerError, EngineFailed, EngineTimeout, EngineUnreachable
from swarmproxy.model.records import Network

logger = logging.getLogger(__name__)

PROBE = Deadline("probe", connect=1.5, total=1.5, limited=False, telling=True)
BATCH = 100
"""Ids in one refresh: 8 kB of query."""
SLICE = 50
"""List items applied between two turns of the loop: about 3 ms."""
RECONCILE = (30.0, 60.0)
"""Seconds between lists."""
PARALLEL = 4
"""Refreshes under way at one engine."""
SETTLING = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Seconds between questions while the engine's list is behind what is known to have happened."""
PAUSE = (0.1, 0.3)
"""Seconds between two event streams."""
AGAIN = 1.0
"""Seconds until what an engine failed to answer is asked again."""

Waiter = asyncio.Future[Entry | None]


class Monitor:
    """Runs one node. `run` never returns; it is cancelled when the member leaves or moves.

    Args:
        network: cluster id → the network's record.
        changed: called when the engine was met, its networks were listed, or its health changed.
        lagging: whether our own loop is late, so that silence proves nothing about an engine.
    """

    def __init__(
        self,
        node: Node,
        *,
        catalog: Catalog,
        hub: EventHub,
        lately: Lately,
        network: Callable[[str], Network | None],
        changed: Callable[[Node], None],
        lagging: Callable[[], bool],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.node = node
        self.engine = node.engine
        self.catalog = catalog
        self.ledger: Ledger[Waiter] = Ledger()
        self.objects = Objects(node, catalog.totals, changed)
        self.clock = clock
        self.feed = Feed(self, hub, lately, network)
        self._changed = changed
        self._lagging = lagging
        self._monotonic = monotonic
        self._rng = rng or random.Random()
        self._up = asyncio.Event()
        self._probe = asyncio.Event()
        self._kick = asyncio.Event()
        self._greet = asyncio.Event()
        self._asking = 0
        self._listening: asyncio.Task[None] | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self.engine.observer = self._observe

    # -- for callers -------------------------------------------------------------------------------------------------
    async def refresh(self, container: str, agrees: Agrees = lambda _: True) -> Entry | None:
        """The entry as the engine shows it after this call began; None when there is none any more.

        Args:
            agrees: asked of the entry; while it says no the engine is asked again, for `sum(SETTLING)` seconds.

        Raises EngineUnreachable, or EngineFailed when the engine refused to list.
        """
        for pause in SETTLING:
            entry = await self._refreshed(container)
            if entry is None or agrees(entry):
                return entry
            await asyncio.sleep(pause)
        return await self._refreshed(container)

    async def _refreshed(self, container: str) -> Entry | None:
        if not self.node.answering:
            raise EngineUnreachable(
                f"Cannot connect to the Docker daemon at {self.engine.address.shown}. Is the docker daemon running?",
                node=self.node.name,
                reason=self.node.health.reason,
            )
        waiter = self.want(container)
        return await waiter if waiter is not None else None

    def want(self, container: str) -> Waiter | None:
        """A future of the entry; None when the container is known to be destroyed."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        if not self.ledger.want(container, waiter):
            return None
        waiter.add_done_callback(_heed)
        self._kick.set()
        return waiter

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs work that ends with the monitor and raises nothing."""
        assert self._tasks is not None
        return self._tasks.create_task(work)

    def gone(self, container: str) -> None:
        """The engine said that it is removed."""
        for waiter in self.ledger.destroy(container, self._monotonic()):
            _resolve(waiter, None)
        self.catalog.drop(self.node, container)

    def reintroduce(self) -> None:
        """The engine's own settings changed."""
        self._greet.set()

    # -- running -----------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            for work in (
                self._pulse,
                self._follow,
                self._refresh,
                self._reconcile,
                self._greeting,
                self.feed.run,
                self.objects.run,
            ):
                self._tasks.create_task(work())

    def abandon(self) -> None:
        """After `run` has ended: whoever still waits is told so."""
        self.engine.observer = None
        error = EngineUnreachable("the node has left the cluster", node=self.node.name)
        for waiter in self.ledger.drain():
            if not waiter.done():
                waiter.set_exception(error)
        self.objects.abandon(error)

    async def _pulse(self) -> None:
        """Asks whether the engine is there, as often as its health wants to know."""
        while True:
            self._probe.clear()
            try:
                await self.engine.call("GET", "/_ping", deadline=PROBE, probe=True)
            except EngineTimeout:
                pass  # the observer was told
            except EngineUnreachable as error:
                self._see(Seen.REFUSED, error.reason)
            delay = self.node.health.delay * self._rng.uniform(0.8, 1.2)
            try:
                async with asyncio.timeout(delay):
                    await self._probe.wait()
            except TimeoutError:
                continue

    def _observe(self, seen: Observation, reason: str) -> None:
        """What any call to this engine showed."""
        match seen:
            case Observation.ANSWER:
                self._see(Seen.ANSWER, "")
            case Observation.REFUSED:
                self._see(Seen.BROKEN, reason)
            case Observation.TIMEOUT if not self._lagging():
                self._see(Seen.TIMEOUT, reason)

    def _see(self, seen: Seen, reason: str) -> None:
        node, before = self.node, self.node.health
        node.health, actions = health.step(before, seen, self._monotonic(), reason)
        if node.health.state is not before.state:
            self._log(before)
        for action in actions:
            match action:
                case Action.PROBE:
                    self._probe.set()
                case Action.TRIP:
                    self._up.clear()
                    self.engine.trip(node.health.reason)
                    if seen is Seen.REFUSED:  # streams of an engine that only is silent may go on
                        self.engine.end_streams()
                    if self._listening is not None:  # ours is opened anew: a silent one may be cut for good
                        self._listening.cancel()
                    self.catalog.age(node)
                    self._changed(node)
                case Action.RESTORE:
                    self.engine.restore()
                    self.catalog.age(node)
                    self._up.set()
                    self._kick.set()
                    self._changed(node)

    def _log(self, before: health.Health) -> None:
        name, now = self.node.name, self.node.health
        if now.state is State.UNHEALTHY:
            logger.warning("%s: engine lost: %s", name, now.reason)
        elif before.state is State.UNHEALTHY:
            logger.info("%s: engine is back after %.1f s", name, now.since - before.since)
        elif before.state is State.PENDING:
            logger.info("%s: engine reached", name)

    async def _follow(self) -> None:
        """Listens and lists, for as long as the engine answers, again and again."""
        while True:
            await self._up.wait()
            try:
                await self._listen_while_up()
            except* DockerError as group:
                for error in group.exceptions:
                    logger.debug("%s: %s", self.node.name, error)
            self._see(Seen.BROKEN, "the event stream ended")
            await asyncio.sleep(self._rng.uniform(*PAUSE))

    async def _listen_while_up(self) -> None:
        self._listening = asyncio.create_task(self._listen())
        try:
            await asyncio.wait((self._listening,))
            if not self._listening.cancelled():
                self._listening.result()
        finally:
            listening, self._listening = self._listening, None
            listening.cancel()

    async def _listen(self) -> None:
        await meet(self.node, self.engine, self.clock)
        self._changed(self.node)
        query = self.feed.begin()
        async with self.engine.stream("GET", "/events", query=query, deadline=STREAM) as stream:
            if stream.status != 200:
                raise EngineFailed("the engine refuses its events", node=self.node.name, status=stream.status)
            async with asyncio.TaskGroup() as group:
                loading = group.create_task(self._load())
                async for chunk in stream.chunks():
                    self.feed.take(chunk)
                loading.cancel()

    async def _load(self) -> None:
        """Everything, once; tries again while the events go on."""
        while True:
            try:
                await self.objects.networks.fresh()  # first: the entries carry network ids
                await self.relist()
                await self.objects.images.fresh()
                await self.objects.volumes.fresh()
            except DockerError as error:
                logger.debug("%s: list: %s", self.node.name, error)
                await asyncio.sleep(AGAIN)
            else:
                return

    async def _reconcile(self) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(*RECONCILE))
            if self.node.ready and self.node.healthy:
                self.objects.poke()
                try:
                    await self.relist()
                except DockerError as error:
                    logger.debug("%s: reconcile: %s", self.node.name, error)

    # -- containers --------------------------------------------------------------------------------------------------
    async def relist(self) -> None:
        """Takes in the whole list, a slice at a time. Raises EngineUnreachable, EngineFailed."""
        fetch = self.ledger.begin_list()
        try:
            asked = self.clock()
            answer = await self.engine.call("GET", "/containers/json", query=ALL, deadline=WORK)
            answered = self.clock()
            items = read_items(answer, self.node)
            listed = await self._take_all(fetch, items, asked, answered)
            for container in self.node.containers.keys() - listed:
                if self.ledger.admits(fetch, container):
                    self._drop(container)
        finally:
            self.ledger.finish(fetch, self._monotonic())
            self._kick.set()
        self.feed.listed()
        self.node.updated = answered
        if not self.node.ready:
            self.node.ready = True
            self._changed(self.node)

    async def _take_all(self, fetch: Fetch, items: list[bytes], asked: float, answered: float) -> set[str]:
        """Applies list items where the ledger lets it; all ids that were listed."""
        listed: set[str] = set()
        for number, raw in enumerate(items):
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            container = identity(raw)
            listed.add(container)
            if self.ledger.admits(fetch, container):
                # The engine's order is the only sign of age within one second.
                self._take(container, raw, asked, answered, rank=len(items) - number)
        return listed

    def _take(self, container: str, raw: bytes, asked: float, answered: float, rank: int) -> None:
        before = self.node.containers.get(container)
        try:
            entry = self.catalog.take(self.node, raw, asked, answered, rank)
        except msgspec.DecodeError as error:
            logger.warning("%s: a container that cannot be read: %s: %s", self.node.name, container, error)
            return
        self.ledger.applied(container)
        if before is None:
            self.feed.born(entry)
        self.feed.refreshed(entry)
        if entry is not before:
            self.feed.found(before, entry)

    def _drop(self, container: str) -> None:
        before = self.catalog.drop(self.node, container)
        self.ledger.applied(container)
        if before is not None:
            self.feed.found(before, None)

    async def _refresh(self) -> None:
        """Starts a refresh for whatever is due, a few at a time."""
        assert self._tasks is not None
        while True:
            await self._kick.wait()
            self._kick.clear()
            while self._asking < PARALLEL and self.node.answering and (containers := self.ledger.due(BATCH)):
                self._asking += 1
                self._tasks.create_task(self._ask(containers, self.ledger.begin(containers)))

    async def _ask(self, containers: tuple[str, ...], fetch: Fetch) -> None:
        try:
            asked = self.clock()
            answer = await self.engine.call("GET", "/containers/json", query=ids_query(containers))
            items = {identity(raw): raw for raw in read_items(answer, self.node)}
        except DockerError as error:
            logger.debug("%s: refresh: %s", self.node.name, error)
            for _, waiter in self.ledger.fail(fetch, self._monotonic()):
                if not waiter.done():
                    waiter.set_exception(error)
            asyncio.get_running_loop().call_later(AGAIN, self._kick.set)
        else:
            answered = self.clock()
            for container in containers:
                if self.ledger.admits(fetch, container):
                    if container in items:
                        self._take(container, items[container], asked, answered, rank=NEWEST)
                    else:
                        self._drop(container)
            for container, waiter in self.ledger.finish(fetch, self._monotonic()):
                _resolve(waiter, self.node.containers.get(container))
        finally:
            self._asking -= 1
        self._kick.set()

    async def _greeting(self) -> None:
        while True:
            await self._greet.wait()
            self._greet.clear()
            try:
                await meet(self.node, self.engine, self.clock)
            except DockerError as error:
                logger.debug("%s: %s", self.node.name, error)
            else:
                self._changed(self.node)


def _heed(waiter: Waiter) -> None:
    """Nobody may be left to hear of a failure; that is no news for the log."""
    if not waiter.cancelled():
        waiter.exception()


def _resolve(waiter: Waiter, entry: Entry | None) -> None:
    if not waiter.done():
        waiter.set_result(entry)
