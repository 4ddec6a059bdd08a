from __future__ import annotations

import pytest

from swarmproxy.cluster.health import EAGER, LAZY, Action, Health, Seen, State, step

P, H, S, U = State.PENDING, State.HEALTHY, State.SUSPECT, State.UNHEALTHY


@pytest.mark.parametrize(
    ("state", "seen", "later", "expect", "actions"),
    [
        # was  then came        after  is  what is done
        (P, Seen.ANSWER, 1.0, H, (Action.RESTORE,)),
        (P, Seen.REFUSED, 1.0, P, (Action.TRIP,)),
        (P, Seen.TIMEOUT, 1.0, P, (Action.TRIP,)),
        (P, Seen.BROKEN, 1.0, P, ()),
        (H, Seen.ANSWER, 1.0, H, ()),
        (H, Seen.REFUSED, 0.0, U, (Action.TRIP,)),
        (H, Seen.TIMEOUT, 0.0, S, (Action.PROBE,)),
        (H, Seen.BROKEN, 0.0, H, (Action.PROBE,)),
        (S, Seen.TIMEOUT, 4.9, S, ()),
        (S, Seen.TIMEOUT, 5.0, U, (Action.TRIP,)),
        (S, Seen.REFUSED, 0.1, U, (Action.TRIP,)),
        (S, Seen.ANSWER, 0.1, H, ()),
        (U, Seen.TIMEOUT, 9.0, U, ()),
        (U, Seen.REFUSED, 9.0, U, ()),
        (U, Seen.ANSWER, 0.1, H, (Action.RESTORE,)),
    ],
)
def test_step(state: State, seen: Seen, later: float, expect: State, actions: tuple[Action, ...]) -> None:
    health, done = step(Health(state, since=10.0, silent=10.0), seen, 10.0 + later, "why")
    assert (health.state, done) == (expect, actions)


def test_probes_of_a_dead_engine_slow_down_and_its_reason_is_the_last() -> None:
    health, _ = step(Health(State.HEALTHY), Seen.REFUSED, 1.0, "connection refused")
    delays = []
    for turn in range(6):
        delays.append(health.delay)
        health, actions = step(health, Seen.TIMEOUT, 2.0 + turn, "no answer")
        assert actions == ()
    assert delays == sorted(delays)
    assert (delays[0], health.delay) == (EAGER, LAZY)
    assert (health.since, health.reason) == (1.0, "no answer")


def test_a_member_that_never_answered_is_tripped_once() -> None:
    health, first = step(Health(), Seen.REFUSED, 1.0)
    health, second = step(health, Seen.REFUSED, 2.0)
    assert (first, second) == ((Action.TRIP,), ())
