"""How an engine does: one observation at a time, no clock and no I/O.

A probe that is refused is proof, so it counts at once; silence is not, so an engine that only is slow becomes suspect
and is given up when nothing at all has been answered for `PATIENCE` seconds. Any answer heals. A broken connection (the
event stream's, most often) proves nothing but is the first sign of a killed engine, so it asks for a probe at once: a
kill is known within a round trip, a frozen host within `PULSE` + the probe's deadline + `PATIENCE`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

PATIENCE = 5.0
"""Seconds of silence from suspect to unhealthy."""
PULSE = 2.0
"""Seconds between probes of an engine that does well."""
EAGER = 0.5
"""Seconds between probes of a suspect, and the first back-off of an unhealthy one."""
LAZY = 5.0
"""Longest back-off, seconds."""


class State(StrEnum):
    PENDING = "pending"
    """Has never answered."""
    HEALTHY = "healthy"
    SUSPECT = "suspect"
    UNHEALTHY = "unhealthy"


class Seen(StrEnum):
    ANSWER = "answer"
    REFUSED = "refused"
    """A probe was told no: nobody listens there, or no way leads there."""
    TIMEOUT = "timeout"
    BROKEN = "broken"
    """A call was refused, or a connection under way broke: the first sign, but no proof yet."""


class Action(StrEnum):
    PROBE = "probe"
    """Probe at once."""
    TRIP = "trip"
    """Fail calls without trying."""
    RESTORE = "restore"
    """Let calls through and read everything anew."""


@dataclass(frozen=True, slots=True)
class Health:
    """`since` is when the state began, `silent` when the silence did (monotonic); `delay` is to the next probe."""

    state: State = State.PENDING
    reason: str = "not reached yet"
    since: float = 0.0
    silent: float = 0.0
    delay: float = 0.0


def step(health: Health, seen: Seen, now: float, reason: str = "") -> tuple[Health, tuple[Action, ...]]:
    """One observation of one engine at monotonic `now`."""
    match seen:
        case Seen.ANSWER:
            if health.state is State.HEALTHY:
                return health, ()
            actions = () if health.state is State.SUSPECT else (Action.RESTORE,)
            return Health(State.HEALTHY, "", since=now, delay=PULSE), actions
        case Seen.BROKEN:
            return health, (Action.PROBE,) if health.state in (State.HEALTHY, State.SUSPECT) else ()
        case Seen.REFUSED:
            return _down(health, now, reason or "connection refused")
        case Seen.TIMEOUT:
            return _silent(health, now, reason or "no answer in time")


def _down(health: Health, now: float, reason: str) -> tuple[Health, tuple[Action, ...]]:
    if health.state in (State.PENDING, State.UNHEALTHY):
        delay = min(LAZY, max(EAGER, health.delay * 2))
        tripped = () if health.state is State.UNHEALTHY or health.delay else (Action.TRIP,)
        return replace(health, reason=reason, delay=delay), tripped
    return Health(State.UNHEALTHY, reason, since=now, silent=health.silent or now, delay=EAGER), (Action.TRIP,)


def _silent(health: Health, now: float, reason: str) -> tuple[Health, tuple[Action, ...]]:
    match health.state:
        case State.HEALTHY:
            return Health(State.SUSPECT, reason, since=now, silent=now, delay=EAGER), (Action.PROBE,)
        case State.SUSPECT if now - health.silent < PATIENCE:
            return replace(health, reason=reason), ()
        case _:
            return _down(health, now, reason)
