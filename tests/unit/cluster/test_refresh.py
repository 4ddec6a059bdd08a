"""Answers overtake each other in every order; what the view shows must still be the engine's truth in the end."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from swarmproxy.cluster.refresh import TOMBSTONE, Fetch, Ledger

IDS = ("a", "b")
ids = st.sampled_from("aaab")


@dataclass(eq=False)
class Caller:
    container: str
    version: int
    """What its own command made of the container; 0 = removed."""


@dataclass(eq=False)
class Flight:
    fetch: Fetch
    answer: dict[str, int] | None = None
    """What the engine said, once it has read its state."""
    unapplied: list[str] = field(default_factory=list)


class Overtaking(RuleBasedStateMachine):
    """A model engine, whose containers have versions, and the view that the ledger keeps of it."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger: Ledger[Caller] = Ledger()
        self.engine: dict[str, int] = {}
        self.view: dict[str, int] = {}
        self.dead: set[str] = set()
        self.told_dead: set[str] = set()
        self.events: list[tuple[str, str]] = []
        self.missed = False
        self.flights: list[Flight] = []
        self.callers: set[Caller] = set()
        self.shown: dict[str, int] = {}
        self.version = 0
        self.now = 0.0

    # -- the engine --------------------------------------------------------------------------------------------------
    def change(self, container: str) -> int:
        self.version += 1
        self.engine[container] = self.version
        self.events.append((container, "change"))
        return self.version

    def remove(self, container: str) -> bool:
        if self.engine.pop(container, None) is None:
            return False
        self.dead.add(container)
        self.events.append((container, "destroy"))
        return True

    @rule(container=ids, what=st.sampled_from(("command",) * 6 + ("change",) * 4 + ("destroy", "rm")))
    def something_happens(self, container: str, what: str) -> None:
        if what in ("destroy", "rm"):
            if self.remove(container) and what == "rm":
                self.forget(container)
        elif container not in self.dead:
            version = self.change(container)
            if what == "command":
                caller = Caller(container, version)
                if self.ledger.want(container, caller):
                    self.callers.add(caller)

    # -- the proxy ---------------------------------------------------------------------------------------------------
    @rule()
    @precondition(lambda self: self.events)
    def event_arrives(self) -> None:
        container, kind = self.events.pop(0)
        if kind == "destroy":
            self.forget(container)
        else:
            self.ledger.mark(container)

    @rule()
    @precondition(lambda self: self.events)
    def events_are_missed(self) -> None:
        self.events.clear()
        self.missed = True

    def forget(self, container: str) -> None:
        self.told_dead.add(container)
        self.view.pop(container, None)
        for caller in self.ledger.destroy(container, self.now):
            self.callers.remove(caller)

    @rule(whole=st.booleans(), limit=st.integers(1, 2), reads_at_once=st.sampled_from((True, True, False)))
    def question_leaves(self, whole: bool, limit: int, reads_at_once: bool) -> None:
        if whole:
            if sum(one.fetch.ids is None for one in self.flights) >= 2:
                return
            self.missed = False
            flight = Flight(self.ledger.begin_list())
        else:
            due = self.ledger.due(limit)
            if not due:
                return
            flight = Flight(self.ledger.begin(due))
        self.flights.append(flight)
        if reads_at_once:
            self.read(flight)

    def read(self, flight: Flight) -> None:
        if flight.answer is None:
            asked = flight.fetch.ids
            flight.answer = {key: value for key, value in self.engine.items() if asked is None or key in asked}
            flight.unapplied = list(IDS if asked is None else sorted(asked))

    @rule(which=st.integers(0, 2), slice_=st.sampled_from((9, 9, 9, 1)))
    @precondition(lambda self: self.flights)
    def answer_is_applied(self, which: int, slice_: int) -> None:
        flight = self.flights[which % len(self.flights)]
        self.read(flight)
        for container in flight.unapplied[:slice_]:
            self.apply(flight, container)
        del flight.unapplied[:slice_]
        if not flight.unapplied:
            self.flights.remove(flight)
            for _, caller in self.ledger.finish(flight.fetch, self.now):
                self.serve(caller)

    @rule(container=ids)
    def command_is_served_at_once(self, container: str) -> None:
        """The usual course, whatever else is under way."""
        self.something_happens(container, "command")
        if container in self.ledger.due(9):
            flight = Flight(self.ledger.begin((container,)))
            self.flights.append(flight)
            self.answer_is_applied(len(self.flights) - 1, 9)

    def apply(self, flight: Flight, container: str) -> None:
        assert flight.answer is not None
        known, told = self.view.get(container), flight.answer.get(container)
        if (known is None and told is None) or not self.ledger.admits(flight.fetch, container):
            return
        if told is None:
            self.view.pop(container, None)
        else:
            self.view[container] = told
        self.ledger.applied(container)

    def serve(self, caller: Caller) -> None:
        self.callers.remove(caller)
        got = self.view.get(caller.container, 0)
        assert got >= caller.version or caller.container in self.dead, "a caller does not see its own change"
        self.shown[caller.container] = max(got, self.shown.get(caller.container, 0))

    @rule(seconds=st.sampled_from((1.0, TOMBSTONE)))
    @precondition(lambda self: any(flight.answer is None for flight in self.flights))
    def answer_is_lost(self, seconds: float) -> None:
        self.now += seconds
        flight = next(flight for flight in self.flights if flight.answer is None)
        self.flights.remove(flight)
        self.missed |= flight.fetch.ids is None
        for _, caller in self.ledger.fail(flight.fetch, self.now):
            self.callers.remove(caller)

    # -- what must hold ----------------------------------------------------------------------------------------------
    @invariant()
    def the_destroyed_stay_dead(self) -> None:
        assert self.told_dead.isdisjoint(self.view)

    @invariant()
    def nothing_goes_back_behind_what_was_shown(self) -> None:
        for container, version in self.shown.items():
            assert container in self.dead or self.view.get(container, 0) >= version

    def teardown(self) -> None:
        if self.missed:
            self.flights.append(Flight(self.ledger.begin_list()))
        for _ in range(20):
            while self.events:
                self.event_arrives()
            while self.flights:
                self.answer_is_applied(0, 9)
            self.question_leaves(whole=False, limit=9, reads_at_once=True)
        assert self.ledger.quiet
        assert not self.callers, "a caller waits for ever"
        assert self.view == self.engine, "all is quiet and the view is not the truth"


TestOvertaking = Overtaking.TestCase
TestOvertaking.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_refresh_that_began_before_the_request_does_not_serve_it() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.mark("a")
    early = ledger.begin(("a",))
    assert ledger.want("a", "caller")
    assert ledger.due(9) == ()  # one in flight at a time
    assert ledger.finish(early, 0.0) == []
    late = ledger.begin(ledger.due(9))
    assert ledger.finish(late, 0.0) == [("a", "caller")]


def test_a_list_that_overlapped_a_refresh_does_not_undo_it_and_asks_again() -> None:
    ledger: Ledger[str] = Ledger()
    whole = ledger.begin_list()
    ledger.mark("a")
    assert not ledger.admits(whole, "a"), "a refresh is due"
    one = ledger.begin(ledger.due(9))
    assert not ledger.admits(whole, "a"), "a refresh is in flight"
    assert ledger.admits(one, "a")
    ledger.applied("a")
    ledger.finish(one, 0.0)
    assert ledger.due(9) == ()
    assert not ledger.admits(whole, "a"), "nobody can tell which of the two is newer"
    assert ledger.due(9) == ("a",)


def test_a_refresh_that_began_before_a_list_is_followed_by_another() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.mark("a")
    early = ledger.begin(ledger.due(9))
    whole = ledger.begin_list()
    assert not ledger.admits(whole, "a")
    ledger.finish(whole, 0.0)
    assert ledger.admits(early, "a")
    ledger.finish(early, 0.0)
    assert ledger.due(9) == ("a",), "what it said may be older than what the list left alone"


def test_a_list_that_began_after_a_refresh_may_change_its_entry() -> None:
    ledger: Ledger[str] = Ledger()
    other = ledger.begin_list()
    ledger.mark("a")
    one = ledger.begin(ledger.due(9))
    ledger.applied("a")
    ledger.finish(one, 0.0)
    assert ledger.admits(ledger.begin_list(), "a")
    ledger.finish(other, 0.0)


def test_many_callers_share_one_refresh() -> None:
    ledger: Ledger[int] = Ledger()
    for number in range(5):
        ledger.want("a", number)
    fetch = ledger.begin(ledger.due(9))
    assert [waiter for _, waiter in ledger.finish(fetch, 0.0)] == [0, 1, 2, 3, 4]
    assert ledger.quiet


def test_callers_of_a_destroyed_container_are_told_at_once() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.want("a", "first")
    assert ledger.destroy("a", 0.0) == ["first"]
    assert not ledger.want("a", "second")
    assert ledger.quiet


@pytest.mark.parametrize(("later", "dead"), [(TOMBSTONE - 1, True), (TOMBSTONE + 1, False)])
def test_tombstones_fade(later: float, dead: bool) -> None:
    ledger: Ledger[str] = Ledger()
    ledger.destroy("a", 0.0)
    ledger.finish(ledger.begin_list(), later)
    assert ledger.destroyed("a") is dead


def test_an_old_list_never_outlives_a_tombstone() -> None:
    ledger: Ledger[str] = Ledger()
    slow = ledger.begin_list()
    ledger.destroy("a", 0.0)
    ledger.finish(ledger.begin_list(), TOMBSTONE * 9)
    assert not ledger.admits(slow, "a")


def test_a_failed_refresh_is_due_again() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.want("a", "caller")
    fetch = ledger.begin(ledger.due(9))
    assert ledger.fail(fetch, 0.0) == [("a", "caller")]
    assert ledger.due(9) == ("a",)
