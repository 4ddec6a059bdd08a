"""The cluster's event stream: one hub, as many subscribers as there are clients.

An engine's event is parsed once, told where it happened (`translate`) and encoded once; subscribers get the same bytes.
Each engine's past is a ring, as on the engine itself. A subscriber that does not read is ended, never waited for: the
others and the engines' own streams must not feel it. Times are the proxy's clock where an engine's is visibly off.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from swarmproxy.cluster.eventfilter import Predicate
from swarmproxy.cluster.node import Node
from swarmproxy.model import options

HISTORY = 512
"""Events kept per engine; engines keep 256."""
QUEUE = 8192
"""Events that one subscriber may be behind."""
SKEW = 1.0
"""Seconds. An engine's clock that is off by less is as good as ours, whose measuring of it is no better."""
SYNTHETIC = options.LABEL_PREFIX + "synthetic"
"""Attribute of events that no engine sent: the change was found by a list after a gap."""

CLUSTER = ""
"""The ring of the cluster's own events."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One event as clients see it. `time` is Unix nanoseconds."""

    time: int
    event: Mapping[str, Any]
    line: bytes


class Subscription:
    """One client's stream: `async for chunk in subscription`; each chunk is one or more lines of JSON.

    Ends at `until`, by `close`, or when the client is `QUEUE` events behind (`overrun` tells).
    """

    def __init__(self, hub: EventHub, wanted: Predicate, until: int | None) -> None:
        self._hub = hub
        self._wanted = wanted
        self._until = until
        self._lines: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self.overrun = False

    def offer(self, shown: Shown) -> None:
        if self._ended or (self._until is not None and shown.time > self._until) or not self._wanted(shown.event):
            return
        if len(self._lines) >= QUEUE:
            self.overrun = True
            self._lines.clear()
            self.close()
            return
        self._lines.append(shown.line)
        self._wake.set()

    def close(self) -> None:
        self._ended = True
        self._hub.unsubscribe(self)
        self._wake.set()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> bytes:
        while not self._lines:
            left = self._left()
            if self._ended or (left is not None and left <= 0):
                self.close()
                raise StopAsyncIteration
            self._wake.clear()
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                continue
        chunk = b"".join(self._lines)
        self._lines.clear()
        return chunk

    def _left(self) -> float | None:
        return None if self._until is None else self._until / 1e9 - self._hub.clock()


class EventHub:
    """See the module."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._rings: dict[str, deque[Shown]] = {}
        self._subscriptions: dict[Subscription, None] = {}

    def __len__(self) -> int:
        """Subscribers."""
        return len(self._subscriptions)

    def publish(self, origin: str, event: Mapping[str, Any], *, live: bool = True) -> None:
        """Keeps an event, as clients see it, and hands it out.

        Args:
            origin: node id, or `CLUSTER`.
            live: False for an engine's past, which only `since` shows.
        """
        moment = int(event.get("timeNano") or int(event.get("time") or 0) * 10**9)
        shown = Shown(moment, event, msgspec.json.encode(event) + b"\n")
        self._rings.setdefault(origin, deque(maxlen=HISTORY)).append(shown)
        if live:
            for subscription in tuple(self._subscriptions):
                subscription.offer(shown)

    def announce(self, kind: str, action: str, identity: str, attributes: Mapping[str, str]) -> None:
        """An event of the cluster itself, now."""
        now = self.clock()
        event = {
            "Type": kind,
            "Action": action,
            "Actor": {"ID": identity, "Attributes": dict(attributes)},
            "scope": "local",
            "time": int(now),
            "timeNano": int(now * 1e9),
        }
        self.publish(CLUSTER, event)

    def subscribe(self, wanted: Predicate, *, since: int | None = None, until: int | None = None) -> Subscription:
        """From now on, after the past that `since` or `until` (nanoseconds) ask for, as an engine does it."""
        subscription = Subscription(self, wanted, until)
        if since is not None or until is not None:
            past = [shown for ring in self._rings.values() for shown in ring if shown.time >= (since or 0)]
            for shown in sorted(past, key=lambda one: one.time):
                subscription.offer(shown)
        self._subscriptions[subscription] = None
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription, None)

    def forget(self, origin: str) -> None:
        """The node has left the cluster."""
        self._rings.pop(origin, None)


def place(node: Node) -> dict[str, str]:
    """Where an event happened, as attributes (classic Swarm's)."""
    return {"node.name": node.name, "node.id": node.id, "node.addr": node.address, "node.ip": node.ip}


def translate(
    event: dict[str, Any], node: Node, *, shown_name: str = "", network: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """An engine's event as clients see it; `event` is changed and returned.

    Args:
        shown_name: the container's name in the cluster, where the event is about one and it is known.
        network: cluster id ("id") and shown attributes of the network that it is about.
    """
    actor: dict[str, Any] = event.get("Actor") or {}
    attributes: dict[str, str] = {
        key: value for key, value in (actor.get("Attributes") or {}).items() if not key.startswith(options.LABEL_PREFIX)
    }
    if shown_name:
        attributes["name"] = shown_name
    if network is not None:
        actor["ID"] = network["id"]
        attributes |= {key: value for key, value in network.items() if key != "id"}
    actor["Attributes"] = attributes | place(node)
    event["Actor"] = actor
    if abs(node.clock_offset) >= SKEW and "timeNano" in event:
        event["timeNano"] = int(event["timeNano"]) - int(node.clock_offset * 1e9)
        event["time"] = event["timeNano"] // 10**9
    return event


def container_event(node: Node, action: str, *, identity: str, image: str, name: str, labels: Mapping[str, str],
                    now: float) -> dict[str, Any]:  # fmt: skip
    """An event that no engine sent, for a change that was found."""
    own = {key: value for key, value in labels.items() if not key.startswith(options.LABEL_PREFIX)}
    return {
        "status": action,
        "id": identity,
        "from": image,
        "Type": "container",
        "Action": action,
        "Actor": {"ID": identity, "Attributes": own | {"image": image, "name": name, SYNTHETIC: "1"} | place(node)},
        "scope": "local",
        "time": int(now),
        "timeNano": int(now * 1e9),
    }
