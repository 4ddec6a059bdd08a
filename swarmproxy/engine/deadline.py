"""How long a call to an engine may take, by class; the route's row names the class.

    QUICK   5 s in all. Counts against the engine's limit of calls under way; its time-out feeds the breaker.
    WORK    connecting 3 s, the whole 30 s, or `t` + 30 s when the query carries a stop time-out `t`.
            An unknown volume or network driver takes an engine 15 s to refuse, so less would cut a true answer.
    STOP    WORK whose `t` is 10 s when the query is silent: the engine waits that long before it kills. t=-1: no end.
    LASTING connecting 3 s, no end: create, commit and rm take as long as the disk takes.
    STREAM  connecting 3 s, the reply's head within 30 s, then no end.
    BULK    connecting 3 s, then no end: an engine may need minutes before the first byte of a save or a pull.

Only QUICK, WORK, STOP and LASTING hold a place in the limit. Seconds throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import parse_qs

CONNECT = 3.0
GRACE = 30.0
STOP_TIMEOUT = 10.0
"""What an engine waits between SIGTERM and SIGKILL when neither the request nor the container says."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """`total` bounds the call up to the last byte, `first` up to the reply's head; None is no bound."""

    name: str
    connect: float = CONNECT
    first: float | None = None
    total: float | None = None
    limited: bool = True
    """Holds a place among the engine's calls under way."""
    telling: bool = False
    """A time-out says something about the engine's health."""
    waits: float | None = None
    """Seconds that the call itself asks the engine to wait, when its query has no `t`."""

    def for_query(self, query: str) -> Deadline:
        """The deadline of one call: `t` in an encoded query moves the bound of WORK and STOP."""
        if self.waits is None:
            return self
        given = parse_qs(query).get("t") if "t=" in query else None
        try:
            wait = float(given[0]) if given else self.waits
        except ValueError:
            wait = self.waits
        if wait < 0:
            return replace(self, total=None)
        return self if wait + GRACE == self.total else replace(self, total=wait + GRACE)

    def within(self, total: float) -> Deadline:
        """The same with another bound on the whole, seconds."""
        return replace(self, total=total, waits=None)


QUICK = Deadline("quick", total=5.0, telling=True)
WORK = Deadline("work", total=GRACE, waits=0.0)
STOP = Deadline("work", total=STOP_TIMEOUT + GRACE, waits=STOP_TIMEOUT)
LASTING = Deadline("work")
STREAM = Deadline("stream", first=30.0, limited=False)
BULK = Deadline("stream", limited=False)
