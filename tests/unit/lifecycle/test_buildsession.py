"""The table of build sessions: every call of one build is told the same node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproxy.lifecycle.buildsession import GRACE, KEEP, BuildSessions, Ticket


def every(node: str) -> bool:
    return True


def test_nothing_is_known_of_a_stranger() -> None:
    table = BuildSessions()
    assert (table.of_session("u", 0, every), table.of_peer("p", 0, every), table.of_build("b")) == ("", "", "")


@pytest.mark.parametrize("order", [("session", "build"), ("build", "session")])
def test_a_session_and_its_build_meet_whichever_comes_first(order: tuple[str, str]) -> None:
    table = BuildSessions()
    table.enter("p", "n1", 0, session="u", build="b" if order[0] == "build" else "")
    assert table.of_session("u", 1, every) == "n1"


def test_grpc_goes_where_its_client_has_a_tunnel() -> None:
    table = BuildSessions()
    table.enter("p", "n1", 0)
    table.enter("q", "n2", 0)
    assert (table.of_peer("p", 1e6, every), table.of_peer("q", 1e6, every)) == ("n1", "n2")


def test_two_clients_behind_one_address_the_newest_session_wins_and_the_older_stays_where_it_is() -> None:
    table = BuildSessions()
    table.enter("p", "n1", 0, session="one")
    two = table.enter("p", "n2", 1, session="two")
    table.enter("p", "n3", 2)
    assert table.of_peer("p", 3, every) == "n2"
    assert table.of_session("one", 3, every) == "n1"
    table.leave(two, 4)
    assert table.of_peer("p", 5, every) == "n1"


def test_between_two_tunnels_of_a_client_it_is_remembered_for_a_while() -> None:
    table = BuildSessions()
    table.leave(table.enter("p", "n1", 0), 100)
    assert table.of_peer("p", 100 + GRACE - 1, every) == "n1"
    assert table.of_peer("p", 100 + GRACE, every) == ""


def test_a_session_outlives_its_tunnel_for_a_while() -> None:
    table = BuildSessions()
    table.leave(table.enter("p", "n1", 0, session="u"), 100)
    assert table.of_session("u", 100 + KEEP - 1, every) == "n1"
    assert table.of_session("u", 100 + KEEP, every) == ""


def test_a_node_that_never_answered_or_does_no_more_binds_nobody() -> None:
    table = BuildSessions()
    table.leave(table.enter("p", "n1", 0, session="u"), 1, reached=False)
    assert (table.of_peer("p", 2, every), table.of_session("u", 2, every)) == ("", "")
    table.enter("p", "n1", 2, session="v")
    assert table.of_peer("p", 3, lambda node: node != "n1") == table.of_session("v", 3, lambda node: False) == ""


def test_a_classic_build_binds_none_of_its_clients_other_calls() -> None:
    table = BuildSessions()
    ticket = table.enter("", "n1", 0, build="b")
    assert (table.of_peer("", 1, every), table.of_build("b"), table.of_session("", 1, every)) == ("", "n1", "")
    table.leave(ticket, 2)
    assert (table.of_peer("", 3, every), table.of_build("b"), table.remembered) == ("", "", 0)


def test_whoever_waits_is_told_of_a_session() -> None:
    table, told = BuildSessions(), list[str]()
    table.listeners.add(told.append)
    table.enter("p", "n1", 0)
    table.enter("p", "n1", 0, session="u")
    assert told == ["u"]


def test_a_session_whose_build_is_refused_is_bound_nowhere() -> None:
    table, told = BuildSessions(), list[str]()
    table.listeners.add(told.append)
    assert not table.refused("u")
    table.refuse("u", 0)
    assert (table.refused("u"), told, table.of_session("u", 1, every)) == (True, ["u"], "")
    table.enter("p", "n1", KEEP)
    assert not table.refused("u")


STEPS = st.lists(
    st.tuples(st.sampled_from(["tunnel", "session", "leave", "wait"]), st.integers(0, 2), st.integers(0, 5)),
    max_size=40,
)


@given(STEPS)
def test_a_bound_session_never_moves_and_nothing_is_kept_for_ever(steps: list[tuple[str, int, int]]) -> None:
    table, now, live = BuildSessions(), 0.0, list[Ticket]()
    bound: dict[str, str] = {}
    for number, (step, who, what) in enumerate(steps):
        peer, session = f"p{who}", f"u{who}{what}"
        if step == "wait":
            now += what
        elif step == "leave" and live:
            table.leave(live.pop(what % len(live)), now)
        elif step == "tunnel":
            live.append(table.enter(peer, table.of_peer(peer, now, every) or f"n{number}", now))
        elif step == "session":
            known = table.of_session(session, now, every)
            node = known or table.of_peer(peer, now, every) or f"n{number}"
            assert not known or bound[session] == known
            bound[session] = node
            live.append(table.enter(peer, node, now, session=session))
        for ticket in live:
            assert not ticket.session or table.of_session(ticket.session, now, every) == bound[ticket.session]
            assert table.of_peer(ticket.peer, now, every)
    for ticket in live:
        table.leave(ticket, now)
    assert len(table) == 0
    table.leave(table.enter("", "n", now + KEEP), now + KEEP)
    assert table.remembered == 0
