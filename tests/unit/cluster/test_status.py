from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproxy.cluster.status import Status, describe, observe, parse, span

H = 3600.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "Less than a second"),
        (0.9, "Less than a second"),
        (1, "1 second"),
        (1.99, "1 second"),
        (42.5, "42 seconds"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (1.49 * H, "About an hour"),
        (1.5 * H, "2 hours"),
        (47.49 * H, "47 hours"),
        (47.5 * H, "2 days"),
        (335.4 * H, "13 days"),
        (335.5 * H, "2 weeks"),
        (1439.4 * H, "8 weeks"),
        (1439.5 * H, "2 months"),
        (17519.4 * H, "24 months"),
        (17519.5 * H, "1 years"),
        (17520 * H, "2 years"),
        (40000 * H, "4 years"),
    ],
)
def test_durations_read_as_the_engine_writes_them(seconds: float, words: str) -> None:
    assert describe(seconds)[0] == words


@given(st.floats(0, 10 * 8760 * H))
def test_a_bucket_holds_its_own_durations_and_no_others(seconds: float) -> None:
    words, low, high = describe(seconds)
    assert low <= seconds < high
    assert span(words) == (low, high)
    assert describe(high + 1e-6)[0] != words
    assert describe(math.nextafter(low, math.inf) + 1e-9)[0] == words


@pytest.mark.parametrize("words", ["", "3 parsecs", "61 seconds", "x minutes", "1 minutes", "-3 days", "3  days"])
def test_other_words_are_not_durations(words: str) -> None:
    assert span(words) is None


@pytest.mark.parametrize(
    ("text", "before", "after", "health"),
    [
        ("Up 3 minutes", "Up ", "", ""),
        ("Up 3 minutes (healthy)", "Up ", " (healthy)", "healthy"),
        ("Up About an hour (health: starting)", "Up ", " (health: starting)", "starting"),
        ("Up 2 days (unhealthy)", "Up ", " (unhealthy)", "unhealthy"),
        ("Up Less than a second (Paused)", "Up ", " (Paused)", ""),
        ("Exited (137) 4 weeks ago", "Exited (137) ", " ago", ""),
        ("Restarting (1) 5 seconds ago", "Restarting (1) ", " ago", ""),
    ],
)
def test_texts_are_taken_apart_and_put_together(text: str, before: str, after: str, health: str) -> None:
    status = parse(text, 1000.0, 1000.0)
    assert (status.before, status.after, status.health) == (before, after, health)
    assert status.render(1000.0) == text


@pytest.mark.parametrize("text", ["Created", "Dead", "Removal In Progress", "", "Up some time", "Auferstanden"])
def test_other_texts_stay(text: str) -> None:
    status = parse(text, 0, 1)
    assert status.render(1e9) == text
    assert status.next_change(0) == math.inf


@given(
    start=st.floats(0, 1e6),
    asks=st.lists(st.floats(0, 5000), min_size=1, max_size=12),
    width=st.floats(0, 0.5),
)
def test_the_instant_is_never_lost_and_the_last_text_is_always_shown(
    start: float, asks: list[float], width: float
) -> None:
    now, status = start, None
    for wait in asks:
        now += wait
        text = f"Up {describe(now - start)[0]}"
        status = observe(status, text, now - width, now + width)
        assert status.lo - 1e-6 <= start <= status.hi + 1e-6
    if width == 0:
        assert status is not None and status.render(now) == text


def test_two_texts_around_a_change_know_the_instant_closely() -> None:
    status = observe(None, "Up 3 hours", 1000, 1000)
    status = observe(status, "Up 4 hours", 1030, 1030)
    assert status.hi - status.lo == pytest.approx(30)


def test_a_restart_begins_anew() -> None:
    status = observe(None, "Up 3 hours", 1000, 1000)
    status = observe(status, "Up 2 seconds", 1010, 1010)
    assert status.render(1010) == "Up 2 seconds"


# multiples of 1/1024 s: sums of them are exact, so the property is about seconds and not about rounding
exact = st.integers(0, 10**10).map(lambda number: number / 1024)


@given(exact, exact)
def test_the_text_holds_until_its_next_change(since: float, age: float) -> None:
    status = Status("Up ", "", since, since)
    now = since + age
    until = status.next_change(now)
    assert until > now
    assert status.render(now + (until - now) * 0.99) == status.render(now)
    assert status.render(until + 1e-3) != status.render(now)


def test_a_change_that_rounding_puts_on_now_is_still_ahead() -> None:
    since = 5.698116894808141e-05
    assert Status("Up ", "", since, since).next_change(since + 4.0) > since + 4.0


def test_a_contradicting_event_is_not_believed() -> None:
    status = parse("Up 3 hours", 1000, 1000)
    assert status.narrowed(2000, 2001) is status
