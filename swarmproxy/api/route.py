"""What a row of the route table can say, and how a path finds its row.

Patterns: `{container}` stands for one path segment, or two when a node is named (`node-1/web`); `{image...}` for any
number of them, since image names hold slashes and the suffix decides (`/images/{image...}/json`). The engine matches
the same way: in its table every name may hold slashes, and the first row registered wins; here a row without a name
wins over one with, and a longer suffix over a shorter.

Cost: one dict look-up for paths without names, one more look-up by (method, first and last segment) for the rest;
about 1 µs. No regular expression is tried at any time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from aiohttp import web

from swarmproxy.api.call import Call
from swarmproxy.engine.deadline import QUICK, Deadline

C = TypeVar("C")

Handler = Callable[[Call[C]], Awaitable[web.StreamResponse]]
Rewrite = Callable[[Call[C], bytes], bytes]
"""Changes the whole body of an engine's reply of status 200; `call.owner` says whose it is."""


class Serve(Enum):
    """Who answers. Rows without a handler are passed through to the engine that the resolver of this value names."""

    VIEW = "answered from memory"
    SAGA = "changes the cluster in steps; runs to its end even when the client goes"
    OWNER = "the engine that holds the container"
    EXEC = "the engine that holds the exec id"
    ANY = "any engine that can"
    MERGE = "every engine, replies merged"
    STICKY = "one engine for a whole build session"
    REFUSE = "refused here; no engine is asked"


class Then(Enum):
    """What must have happened before the client reads the end of the reply."""

    NOTHING = "nothing"
    REFRESH = "the container is read again from its engine"
    ENDED = "read again until the engine's own list shows that it does not run"
    RUNNING = "read again until the engine's own list shows that it runs"
    PAUSED = "read again until the engine's own list shows that it is paused"


VIEW, SAGA, OWNER, EXEC = Serve.VIEW, Serve.SAGA, Serve.OWNER, Serve.EXEC
ANY, MERGE, STICKY, REFUSE = Serve.ANY, Serve.MERGE, Serve.STICKY, Serve.REFUSE
NOTHING, REFRESH, ENDED, RUNNING, PAUSED = Then.NOTHING, Then.REFRESH, Then.ENDED, Then.RUNNING, Then.PAUSED


@dataclass(frozen=True, slots=True)
class Route(Generic[C]):
    """One endpoint.

    Args:
        since: first API version that has it; below, the route is unknown.
        hijack: the connection may become a byte tunnel (101) or a stream without an end (200 without a length).
        differs: one sentence, what differs from a single engine; docs/differences.md is made of these.
        rewrite: see `Rewrite`; without it a reply's bytes are never touched.
    """

    method: str
    path: str
    handler: Handler[C] | None = None
    serve: Serve = OWNER
    deadline: Deadline = QUICK
    then: Then = NOTHING
    since: str = ""
    hijack: bool = False
    differs: str = ""
    rewrite: Rewrite[C] | None = None


@dataclass(frozen=True, slots=True)
class _Pattern(Generic[C]):
    """A row with a name in its path: literal head, the name, literal tail, perhaps a last name."""

    route: Route[C]
    head: tuple[str, ...]
    name: str
    many: bool
    tail: tuple[str, ...]
    last: str

    def match(self, segments: Sequence[str]) -> Match[C] | None:
        start, end = len(self.head), len(segments) - len(self.tail) - (1 if self.last else 0)
        count = end - start
        if count < 1 or (count > 2 and not self.many) or tuple(segments[:start]) != self.head:
            return None
        if self.tail and tuple(segments[end : end + len(self.tail)]) != self.tail:
            return None
        name = "/".join(segments[start:end])
        if not name or not segments[-1]:
            return None
        params = {self.name: name}
        if self.last:
            params[self.last] = segments[-1]
        return Match(self.route, params, start, end)


@dataclass(frozen=True, slots=True)
class Match(Generic[C]):
    """A row, the decoded names of the path, and where the first of them stands: segments [start, end)."""

    route: Route[C]
    params: Mapping[str, str] = field(default_factory=dict)
    start: int = 0
    end: int = 0


def _compile(route: Route[C]) -> _Pattern[C]:
    segments = route.path.strip("/").split("/")
    names = [place for place, segment in enumerate(segments) if segment.startswith("{")]
    first = names[0]
    last = ""
    tail = segments[first + 1 :]
    if len(names) > 1:
        if len(names) > 2 or names[1] != len(segments) - 1:
            raise ValueError(f"{route.path}: a second name may only be the last segment")
        last = tail.pop().strip("{}")
    word = segments[first].strip("{}")
    many = word.endswith("...")
    return _Pattern(route, tuple(segments[:first]), word.removesuffix("..."), many, tuple(tail), last)


class Table(Generic[C]):
    """Finds rows. Built once; raises ValueError when two rows claim the same method and path."""

    def __init__(self, routes: Iterable[Route[C]]) -> None:
        self._plain: dict[tuple[str, str], Match[C]] = {}
        self._ended: dict[tuple[str, str, str], list[_Pattern[C]]] = {}
        self._open: dict[tuple[str, str], list[_Pattern[C]]] = {}
        seen: set[tuple[str, str]] = set()
        for route in routes:
            key = (route.method, route.path)
            if key in seen:
                raise ValueError(f"two rows for {route.method} {route.path}")
            seen.add(key)
            if "{" not in route.path:
                self._plain[key] = Match(route)
                continue
            pattern = _compile(route)
            if pattern.tail and not pattern.last:
                self._ended.setdefault((route.method, pattern.head[0], pattern.tail[-1]), []).append(pattern)
            else:
                self._open.setdefault((route.method, pattern.head[0]), []).append(pattern)
        for patterns in (*self._ended.values(), *self._open.values()):
            patterns.sort(key=lambda pattern: -len(pattern.head) - len(pattern.tail))

    def find(self, method: str, path: str, segments: Sequence[str]) -> Match[C] | None:
        """The row of a decoded path without its version; `segments` is that path split at slashes."""
        plain = self._plain.get((method, path))
        if plain is not None:
            return plain
        first, last = segments[0], segments[-1]
        for pattern in self._ended.get((method, first, last), ()):
            found = pattern.match(segments)
            if found is not None:
                return found
        for pattern in self._open.get((method, first), ()):
            found = pattern.match(segments)
            if found is not None:
                return found
        return None
