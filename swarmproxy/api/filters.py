"""The `filters` parameter: {"key": ["value"]} or {"key": {"value": true}}, as every list endpoint takes it.

Keys are joined by AND, values of one key by OR, but for labels, which are joined by AND. Unknown keys and bad JSON are
refused in the newer engine's words (400).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

from swarmproxy.model import pattern
from swarmproxy.model.errors import BadRequest

Filters = Mapping[str, list[str]]


def parse(text: str, known: Collection[str]) -> Filters:
    """Filters without empty keys. Raises BadRequest."""
    if not text or text == "null":
        return {}
    try:
        asked: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise BadRequest("invalid filter") from None
    if not isinstance(asked, dict):
        raise BadRequest("invalid filter")
    filters: dict[str, list[str]] = {}
    for key, values in asked.items():
        if key not in known:
            raise BadRequest(f"invalid filter '{key}'")
        if not isinstance(values, list | dict) or not all(isinstance(value, str) for value in values):
            raise BadRequest("invalid filter")
        if values:
            filters[key] = list(values)
    return filters


def labels_match(labels: Mapping[str, str], wanted: Iterable[str]) -> bool:
    """All of `key` (present) and `key=value` (equal)."""
    for want in wanted:
        key, equals, value = want.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def truth(filters: Filters, key: str) -> bool | None:
    """A boolean filter's value; None when it is not asked. Raises BadRequest for another word."""
    values = filters.get(key)
    if not values:
        return None
    if values[0].lower() in ("1", "true", "t"):
        return True
    if values[0].lower() in ("0", "false", "f"):
        return False
    raise BadRequest(f"invalid filter '{key}=[{' '.join(values)}]'")


def name_pattern(values: Iterable[str]) -> Callable[[str], bool]:
    """Any of the values as a regular expression somewhere in the name; what is none matches as text."""
    patterns: list[Callable[[str], bool]] = []
    for value in values:
        try:
            patterns.append(pattern.search(value))
        except pattern.BadPattern:
            patterns.append(lambda name, value=value: value in name)  # type: ignore[misc]
    return lambda name: any(found(name) for found in patterns)
