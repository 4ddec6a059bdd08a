"""The two kinds of engine that a cluster meets, as data: Docker 20.10 (API 1.41) and 26.1 (API 1.45).

They differ in texts, statuses, a few keys and the order of events. Code asks `flavour.old`, or `flavour.say(a, b)`
where only words differ; both were compared with the engines side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FLAVOURS", "Flavour", "version_tuple"]


@dataclass(frozen=True, slots=True)
class Flavour:
    name: str
    version: str
    api: str
    minimum: str
    git: str
    go: str
    containerd: str
    old: bool
    """20.10 rather than 26.1."""

    def say(self, old: str, new: str) -> str:
        return old if self.old else new

    def status(self, old: int, new: int) -> int:
        return old if self.old else new

    @property
    def server(self) -> str:
        """The Server header."""
        return f"Docker/{self.version} (linux)"


FLAVOURS = {
    "20.10": Flavour(
        name="20.10",
        version="20.10.24+dfsg1",
        api="1.41",
        minimum="1.12",
        git="5d6db84",
        go="go1.19.8",
        containerd="1.6.20~ds1",
        old=True,
    ),
    "26.1": Flavour(
        name="26.1",
        version="26.1.5+dfsg1",
        api="1.45",
        minimum="1.24",
        git="411e817",
        go="go1.24.4",
        containerd="1.7.24~ds1",
        old=False,
    ),
}


def version_tuple(text: str) -> tuple[int, ...]:
    """ "1.41" → (1, 41). Raises ValueError."""
    return tuple(int(part) for part in text.split("."))
