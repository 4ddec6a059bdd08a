"""Instants as Docker's clients and engines write them: RFC 3339, Unix seconds, or how long ago (Go's durations).

An engine reads `until=24h` by its own clock; the proxy reads it by its own. Cost: a few µs each.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from swarmproxy.model.errors import BadRequest

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNIT = "|".join(sorted(_UNITS, key=len, reverse=True))
_DURATION = re.compile(rf"([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:{_UNIT}))+)")
_PART = re.compile(rf"(\d+\.?\d*|\.\d+)({_UNIT})")
_UNIX = re.compile(r"\d+(?:\.\d+)?")
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:T(\d\d(?::\d\d(?::\d\d)?)?)(\.\d+)?)?(Z|[+-]\d\d:\d\d)?",
)


def rfc3339(text: str) -> float | None:
    """Unix seconds; None for what is not one. Minutes, seconds and zone may be missing (then UTC)."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        return None
    day, clock, fraction, zone = found.groups()
    clock = (clock or "00") + ":00:00"[len(clock or "00") - 2 :]
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{(zone or 'Z').replace('Z', '+00:00')}")
    except ValueError:
        return None
    return moment.timestamp() + float(fraction or 0)


def parse(text: str, now: float) -> float:
    """Unix seconds of an instant, or of `now` minus a duration. Raises BadRequest in the engine's words."""
    if _UNIX.fullmatch(text):
        return float(text)
    duration = _DURATION.fullmatch(text)
    if duration is not None:
        seconds = sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(duration[2]))
        return now + seconds if duration[1] == "-" else now - seconds
    moment = rfc3339(text)
    if moment is None:
        raise BadRequest(f'failed to parse value as time or duration: "{text}"')
    return moment


def written(seconds: float) -> str:
    """RFC 3339 in UTC; Go's zero time for 0."""
    if not seconds:
        return "0001-01-01T00:00:00Z"
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
