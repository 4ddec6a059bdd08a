"""Which API version a request to one engine carries."""

from __future__ import annotations

from functools import lru_cache


def number(version: str) -> tuple[int, ...]:
    """ "1.41", "01.41" and "1.41.0" compare equal; what is no number counts as 0."""
    parts = [int(part) if part.isdecimal() else 0 for part in version.split(".")]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


@lru_cache(maxsize=1024)
def common(asked: str | None, minimum: str, maximum: str) -> str:
    """The version nearest to what was asked that the engine speaks; its newest when nothing was asked."""
    if not asked or number(asked) >= number(maximum):
        return maximum
    return minimum if minimum and number(asked) < number(minimum) else asked
