"""An engine's events: a ring of the last 256, and whoever listens now.

Events are kept as fields and encoded for each reader: a thousand idle rings then cost next to nothing. Times are
strictly increasing nanoseconds, as an engine's are in practice, so (timeNano, id, action) tells two events apart even
while a fake clock stands still.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from swarmproxy.model.errors import DockerError

__all__ = ["RING", "Event", "Ring", "included", "parse_instant"]

RING = 256

# Actions that carry their argument after a colon; a filter names the part before it.
_WITH_ARGUMENT = frozenset(("health_status", "exec_create", "exec_start"))
_LEGACY = frozenset(("container", "image"))


@dataclass(frozen=True, slots=True)
class Event:
    nano: int
    type: str
    action: str
    id: str
    attributes: Mapping[str, str]

    def encode(self) -> bytes:
        """One JSON object and a newline, keys in an engine's order."""
        head: dict[str, Any] = {}
        if self.type in _LEGACY:
            head["status"] = self.action
            if self.id:
                head["id"] = self.id
            if self.type == "container" and "image" in self.attributes:
                head["from"] = self.attributes["image"]
        head["Type"] = self.type
        head["Action"] = self.action
        head["Actor"] = {"ID": self.id, "Attributes": dict(sorted(self.attributes.items()))}
        head["scope"] = "local"
        head["time"] = self.nano // 1_000_000_000
        head["timeNano"] = self.nano
        return msgspec.json.encode(head) + b"\n"


class Ring:
    """History and live listeners. A listener is called synchronously, inside the change it is told of."""

    def __init__(self) -> None:
        self.history: deque[Event] = deque(maxlen=RING)
        self._listeners: list[Callable[[Event], None]] = []

    def append(self, event: Event) -> None:
        self.history.append(event)
        for listener in tuple(self._listeners):
            listener(event)

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Returns the function that ends it."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def between(self, since: int | None, until: int | None) -> Iterator[Event]:
        """What the ring still holds; nothing when neither bound is given."""
        if since is None and until is None:
            return
        for event in self.history:
            if since is not None and event.nano < since:
                continue
            if until is not None and event.nano > until:
                break
            yield event


def parse_instant(text: str) -> int | None:
    """Unix seconds with optional `.nano` → nanoseconds; None for "".

    Raises:
        DockerError: 500, an engine's words.
    """
    if not text:
        return None
    whole, _, fraction = text.partition(".")
    for part in (whole, fraction) if fraction else (whole,):
        if not part.lstrip("-").isdigit():
            raise DockerError(f'strconv.ParseInt: parsing "{part}": invalid syntax')
    return int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or "0")


def included(event: Event, filters: Mapping[str, frozenset[str]]) -> bool:
    """An engine's own rule: keys are ANDed, unknown keys ignored, names and ids match by their beginning."""
    attributes = event.attributes
    name = attributes.get("name", "")
    for key, wanted in filters.items():
        if not wanted:
            continue
        if key == "event":
            exact = event.action in wanted
            if not exact and not (wanted & _WITH_ARGUMENT and _begins(event.action, wanted)):
                return False
        elif key == "type":
            if event.type not in wanted:
                return False
        elif key == "scope":
            if "local" not in wanted:
                return False
        elif key in ("container", "network", "volume", "plugin", "daemon", "node"):
            if not _begins(event.id, wanted) and not _begins(name, wanted):
                return False
        elif key == "image":
            about = name if event.type == "image" else attributes.get("image", "")
            if not wanted & {event.id, about, _untagged(event.id), _untagged(about)}:
                return False
        elif key == "label" and not all(_labelled(attributes, label) for label in wanted):
            return False
    return True


def _begins(text: str, wanted: frozenset[str]) -> bool:
    return any(text.startswith(begin) for begin in wanted)


def _untagged(reference: str) -> str:
    head, colon, tail = reference.rpartition(":")
    return head if colon and "/" not in tail else reference


def _labelled(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)
