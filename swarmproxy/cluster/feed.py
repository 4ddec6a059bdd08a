"""One engine's events: what they make dirty, and when clients hear of them.

An event carries no state; it says which id to ask about. Engines send some events before their own list knows: 20.10
`die`, `pause` and `unpause`, by milliseconds (measured). So such an event is asked about until the list agrees with it.
Clients hear of an event only when that answer is in (or a second later), so that whoever lists on an event finds what
the event spoke of. The stream is resumed at the engine's own last time and what comes twice is dropped. What it cannot
give any more (an engine keeps 256 events in memory and none over a restart) is not invented: changes that the next list
finds are published as synthetic.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from swarmproxy.cluster.entry import Agrees, Entry
from swarmproxy.cluster.events import EventHub, container_event, translate
from swarmproxy.cluster.lately import Lately, Recent
from swarmproxy.model.errors import DockerError
from swarmproxy.model.records import LOCAL, Network

if TYPE_CHECKING:
    from swarmproxy.cluster.monitor import Monitor

logger = logging.getLogger(__name__)

# What may change a container's list item. 26.1 sends `stop` before `die`: both ask.
STIRRING = frozenset("create start restart stop die oom pause unpause rename update health_status".split())
REMEMBERED = 1024
"""Events that are recognised when they come twice."""
PATIENCE = 1.0
"""Seconds that an event waits for its refresh."""
LATENESS = 0.15
"""Seconds between the instant that Status counts from and its event."""
NEWEST = 10**9 - 1
"""Nanoseconds of a container whose creation was not heard of yet: it was made just now."""


Item = tuple[dict[str, Any], "asyncio.Future[Any] | None", float]
"""Event, the refresh that it waits for, and until when (loop time)."""

_STILL = ("created", "exited")
"""States in which only a start makes an engine connect a container."""


class Feed:
    """Events of one engine, in order.

    Args:
        network: cluster id → its record.
    """

    def __init__(
        self, monitor: Monitor, hub: EventHub, lately: Lately, network: Callable[[str], Network | None]
    ) -> None:
        self._monitor = monitor
        self._node = monitor.node
        self._hub = hub
        self._lately = lately
        self._network = network
        self._queue: deque[Item] = deque()
        self._wake = asyncio.Event()
        self._tail = b""
        self._seen: Recent[bool] = Recent(REMEMBERED)
        self._born: Recent[int] = Recent()
        self._starts: Recent[tuple[str, float]] = Recent()
        self._last = 0
        """timeNano of the newest event, by the engine's clock."""
        self._last_key = ""
        self._live_from = 0
        self._expected: dict[str, Agrees] = {}
        self._gap = False
        self._heard: set[str] = set()
        self._found: list[tuple[Entry | None, Entry | None]] = []

    def begin(self) -> str:
        """A stream is about to be opened: its query."""
        self._tail = b""
        self._heard.clear()
        self._found.clear()
        if self._last:
            self._gap = True  # until the last known event has come again
            return f"since={self._last // 10**9}.{self._last % 10**9:09}"
        self._live_from = int((self._monitor.clock() + self._node.clock_offset) * 1e9)
        self._gap = self._node.ready
        return "since=1"

    def take(self, chunk: bytes) -> None:
        """Bytes as they came."""
        *lines, self._tail = (self._tail + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                try:
                    event = msgspec.json.decode(line, type=dict[str, Any])
                    self._take(event)
                except (msgspec.DecodeError, TypeError, ValueError, AttributeError) as error:
                    logger.warning("%s: an event that cannot be read: %r: %s", self._node.name, line[:200], error)

    def _take(self, event: dict[str, Any]) -> None:
        actor = event.get("Actor") or {}
        moment, identity, action = int(event.get("timeNano") or 0), str(actor.get("ID") or ""), str(event.get("Action"))
        key = f"{moment} {identity} {action}"
        if self._seen.get(key):
            self._gap = self._gap and key != self._last_key
            return
        self._seen.put(key, True)
        if moment >= self._last:
            self._last, self._last_key = moment, key
        attributes = actor.get("Attributes") or {}
        kind = str(event.get("Type") or "")
        live = moment >= self._live_from
        waiter = None
        if kind == "container":
            self._note(action, identity, attributes, moment)
            waiter = self._container(action, identity, attributes) if live else None
        elif live:
            waiter = self._other(kind, action, attributes)
        shown = self._shown(event, kind, action, identity)
        if kind == "container" and action == "destroy" and live:
            self._monitor.gone(identity)
        if shown is None:
            return
        if not live:
            self._hub.publish(self._node.id, shown, live=False)
        elif waiter is None and not self._queue:
            self._hub.publish(self._node.id, shown)
        else:
            self._queue.append((shown, waiter, asyncio.get_running_loop().time() + PATIENCE))
            self._wake.set()

    # -- what an event means -----------------------------------------------------------------------------------------
    def _note(self, action: str, identity: str, attributes: dict[str, str], moment: int) -> None:
        """What is remembered of a container's event, even of one from the past."""
        ours = moment / 1e9 - self._node.clock_offset
        match action.partition(":")[0]:
            case "create":
                self._born.put(identity, moment)
                entry = self._node.containers.get(identity)
                if entry is not None:
                    self.born(entry)
            case "start":
                self._starts.put(identity, ("Up ", ours))
            case "die":
                code = attributes.get("exitCode", "")
                if code.lstrip("-").isdecimal():
                    self._lately.exits.put(identity, int(code))
                    self._starts.put(identity, (f"Exited ({code}) ", ours))
            case "exec_create" if "execID" in attributes:
                self._lately.execs.put(attributes["execID"], self._node.id)

    def _container(self, action: str, identity: str, attributes: dict[str, str]) -> asyncio.Future[Any] | None:
        self._heard.add(identity)
        if action.partition(":")[0] not in STIRRING:
            return None
        agrees = _agreement(action, attributes)
        if agrees is None:
            return self._monitor.want(identity)
        self._expected[identity] = agrees
        return self._monitor.spawn(self._settle(identity, agrees))

    async def _settle(self, container: str, agrees: Agrees) -> None:
        """Asks until the list agrees with the event, a later event says something else, or patience ends."""
        try:
            await self._monitor.refresh(
                container, lambda entry: agrees(entry) or self._expected.get(container) is not agrees
            )
        except DockerError:
            return  # the engine is lost: all is read anew when it comes back
        finally:
            if self._expected.get(container) is agrees:
                del self._expected[container]

    def _other(self, kind: str, action: str, attributes: dict[str, str]) -> asyncio.Future[Any] | None:
        objects = self._monitor.objects
        match kind, action:
            case "network", "connect" | "disconnect":
                entry = self._node.containers.get(attributes.get("container", ""))
                if entry is None or (action == "connect" and entry.state in _STILL):
                    return None  # a start connects it, whose own event or end follows
                return self._monitor.want(entry.id)
            case "network", _:
                objects.networks.poke()
            case "volume", "create" | "destroy" | "prune":
                objects.volumes.poke()
            case "image", _:
                objects.images.poke()
            case "daemon", _:
                self._monitor.reintroduce()
        return None

    def _shown(self, event: dict[str, Any], kind: str, action: str, identity: str) -> dict[str, Any] | None:
        """The event as clients see it; None when they must not: the cluster announces its own networks."""
        if kind == "container":
            entry = self._node.containers.get(identity)
            known = entry is not None and action != "rename"
            return translate(event, self._node, shown_name=entry.shown if entry is not None and known else "")
        if kind == "network":
            cluster = self._node.cluster_of.get(identity) or self._node.former.get(identity)
            record = self._network(cluster) if cluster else None
            if cluster and action in ("create", "destroy") and (record is None or record.mode != LOCAL):
                return None
            if cluster:
                names = {"name": record.name, "type": driver_of(record)} if record is not None else {}
                return translate(event, self._node, network={"id": cluster} | names)
        return translate(event, self._node)

    # -- what a list found -------------------------------------------------------------------------------------------
    def born(self, entry: Entry) -> None:
        """Orders containers of one second by the moments of their create events, where those were heard of.

        The event comes some milliseconds after Created, perhaps in the next second, so it counts from Created's second.
        """
        moment = self._born.get(entry.id)
        if moment is not None:
            self._monitor.catalog.order(entry, max(moment - entry.created * 10**9, 0))

    def refreshed(self, entry: Entry) -> None:
        """An answer is in: an event may know more closely since when."""
        known = self._starts.pop(entry.id)
        if known is not None and known[0] == entry.status.before:
            self._monitor.catalog.know(entry, known[1] - LATENESS, known[1])

    def found(self, before: Entry | None, after: Entry | None) -> None:
        """A list changed something."""
        if self._gap and (before is None or after is None or before.state != after.state):
            self._found.append((before, after))

    def listed(self) -> None:
        """A list is complete: what changed in the gap and was not heard of is told."""
        if self._gap:
            for before, after in self._found:
                entry = after or before
                if entry is not None and entry.id not in self._heard:
                    for action in _actions(before, after):
                        self._publish_found(entry, action)
        self._gap = False
        self._found.clear()

    def _publish_found(self, entry: Entry, action: str) -> None:
        event = container_event(
            self._node,
            action,
            identity=entry.id,
            image=entry.image,
            name=entry.shown,
            labels=entry.labels,
            now=self._monitor.clock(),
        )
        self._queue.append((event, None, 0.0))
        self._wake.set()

    # -- telling clients ---------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Publishes in order, each event when its refresh is in."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                event, waiter, until = self._queue[0]
                if waiter is not None and not waiter.done():
                    await asyncio.wait((waiter,), timeout=max(0.0, until - asyncio.get_running_loop().time()))
                self._queue.popleft()
                self._hub.publish(self._node.id, event)


def _agreement(action: str, attributes: dict[str, str]) -> Agrees | None:
    """What the list shows once it knows of an event; None where it knows before."""
    match action:
        case "die" | "stop":
            return lambda entry: entry.state not in ("running", "paused")
        case "start" | "restart" | "unpause":
            return lambda entry: entry.state not in ("created", "exited", "paused")
        case "pause":
            return lambda entry: entry.state not in ("created", "running")
        case "rename":
            return lambda entry: entry.name == attributes.get("name", "").removeprefix("/")
    return None


def driver_of(record: Network) -> str:
    """The driver as the client named it; an engine's default otherwise."""
    try:
        body = msgspec.json.decode(record.body, type=dict[str, Any])
    except msgspec.DecodeError:
        return "bridge"
    return str(body.get("Driver") or "bridge")


def _actions(before: Entry | None, after: Entry | None) -> tuple[str, ...]:
    """The events that one engine would have sent for a change."""
    was, now = (before.state if before else ""), (after.state if after else "")
    running = ("running", "paused", "restarting")
    if not now:
        return ("die", "destroy") if was in running else ("destroy",)
    if not was:
        return ("create", "start") if now in running else ("create",)
    if now == "paused" or was == "paused":
        return ("pause",) if now == "paused" else ("unpause",) if now == "running" else ("die",)
    if now == "running":
        return ("start",)
    return ("die",) if was == "running" else ()
