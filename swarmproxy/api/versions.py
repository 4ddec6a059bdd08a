"""API versions: what a client's path says, what is refused, what is advertised.

The proxy advertises the highest version that all members have, since clients shape their bodies after it (1.44 and
later put several networks into one create). It serves more: every version up to the newest of any member.
"""

from __future__ import annotations

from collections.abc import Iterable

from swarmproxy.engine.version import number
from swarmproxy.model.errors import BadRequest

MINIMUM = "1.24"
FALLBACK = "1.41"
"""Advertised while no member has answered yet."""


def lower(one: str, other: str) -> str:
    """The older of two versions; an empty one is no bound."""
    if not one or not other:
        return one or other
    return one if number(one) <= number(other) else other


def split(path: str) -> tuple[str, str]:
    """("1.41", "/containers/json") of "/v1.41/containers/json"; ("", path) when no version leads it."""
    if path[:2] != "/v":
        return "", path
    end = path.find("/", 2)
    version = path[2:] if end < 0 else path[2:end]
    if not version or version.strip("0123456789."):
        return "", path
    return version, path[end:] if end >= 0 else ""


class Versions:
    """Range that is served, and the version that is told. Changed when members come and go."""

    def __init__(self, *, minimum: str = MINIMUM, advertised: str = FALLBACK, newest: str = "") -> None:
        self.minimum = minimum
        self.advertised = advertised
        self.newest = newest or advertised
        self._passed: set[str] = set()

    def follow(self, members: Iterable[str]) -> None:
        """Takes the members' highest versions ("" = not known yet)."""
        known = sorted((version for version in members if version), key=number)
        if known and (known[0], known[-1]) != (self.advertised, self.newest):
            self.advertised, self.newest = known[0], known[-1]
            self._passed.clear()

    def check(self, version: str) -> None:
        """Raises BadRequest in Docker's words when a version is too old or too new."""
        if version in self._passed:
            return
        asked = number(version)
        if asked > number(self.newest):
            raise BadRequest(f"client version {version} is too new. Maximum supported API version is {self.advertised}")
        if asked < number(self.minimum):
            raise BadRequest(
                f"client version {version} is too old. Minimum supported API version is {self.minimum}, "
                "please upgrade your client to a newer version"
            )
        if len(self._passed) < 256:
            self._passed.add(version)
