"""Which events a client asked for, as moby decides it, from the event and the filter alone.

Keys are ANDed, values of one key ORed, `label` ANDed; names and ids match by their beginning (of any kind of object,
so `container=ev` lets the events of a volume `evv` pass as well), `event` by the whole word, and by its beginning where
the engine's action carries more (`exec_create: sh`). Unknown keys are ignored, unknown values match nothing.
`node` is ours: a node's name or id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from swarmproxy.model.errors import BadRequest, ServerError

Filters = Mapping[str, Sequence[str]]
"""Key → values; a key without values is no filter."""
Predicate = Callable[[Mapping[str, Any]], bool]

_LONG_ACTIONS = frozenset(("health_status", "exec_create", "exec_start"))
_BY_BEGINNING = ("container", "volume", "network", "daemon", "plugin", "service", "secret", "config")
_TIME = re.compile(r"([+-]?\d+)(?:\.(\d*))?\Z")


def compile_filter(filters: Filters) -> Predicate:
    """The test of one event, a decoded Docker event with the node attributes on it."""
    tests = [test for key, values in filters.items() if values for test in _tests(key, tuple(values))]
    return lambda event: all(test(event) for test in tests)


def _tests(key: str, values: tuple[str, ...]) -> list[Predicate]:
    if key == "event":
        return [_action(values)]
    if key == "type":
        return [lambda event: event.get("Type", "") in values]
    if key == "scope":
        return [lambda event: event.get("scope", "local") in values]
    if key in _BY_BEGINNING:
        return [
            lambda event: _id(event).startswith(values) or str(_attributes(event).get("name", "")).startswith(values)
        ]
    if key == "image":
        return [lambda event: not _images(event).isdisjoint(values)]
    if key == "node":
        return [lambda event: any(_attributes(event).get(one) in values for one in ("node.name", "node.id"))]
    if key == "label":
        return [_label(value) for value in values]
    return []


def _action(values: tuple[str, ...]) -> Predicate:
    if _LONG_ACTIONS.isdisjoint(values):
        return lambda event: event.get("Action", "") in values
    return lambda event: str(event.get("Action", "")).startswith(values)


def _label(value: str) -> Predicate:
    key, equals, wanted = value.partition("=")
    if equals:
        return lambda event: _attributes(event).get(key) == wanted
    return lambda event: key in _attributes(event)


def _attributes(event: Mapping[str, Any]) -> Mapping[str, Any]:
    actor = event.get("Actor") or {}
    attributes: Mapping[str, Any] = actor.get("Attributes") or {}
    return attributes


def _id(event: Mapping[str, Any]) -> str:
    return str((event.get("Actor") or {}).get("ID") or "")


def _images(event: Mapping[str, Any]) -> set[str]:
    name = str(_attributes(event).get("name" if event.get("Type") == "image" else "image", ""))
    return {part for one in (_id(event), name) for part in (one, _without_tag(one)) if part}


def _without_tag(reference: str) -> str:
    head = reference.partition("@")[0]
    name, colon, tag = head.rpartition(":")
    return name if colon and "/" not in tag else head


def moment(text: str) -> int | None:
    """A client's `since` or `until`, Unix seconds with an optional fraction, in nanoseconds; None for "".

    Raises:
        ServerError: it is something else (500 and these words on every engine).
    """
    if not text:
        return None
    found = _TIME.match(text)
    if found is None:
        whole = text.partition(".")[0]
        raise ServerError(f'strconv.ParseInt: parsing "{whole}": invalid syntax')
    return int(found[1]) * 10**9 + int((found[2] or "0").ljust(9, "0")[:9])


def window(since: str, until: str) -> tuple[int | None, int | None]:
    """Both ends in nanoseconds. Raises ServerError, and BadRequest when they are in the wrong order."""
    first, last = moment(since), moment(until)
    if first is not None and last is not None and first > last:
        raise BadRequest(f"`since` time ({since}) cannot be after `until` time ({until})")
    return first, last
