from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmproxy.cluster import pages
from swarmproxy.cluster.entry import Entry
from swarmproxy.cluster.pages import Pages
from tests.unit.cluster.shapes import entry, node

PLACE = node()


def made(number: int, **fields: object) -> Entry:
    return entry(f"{number:064x}", PLACE, Created=number // 3, **fields)


def listed(sequence: Pages, now: float = 1e6) -> list[str]:
    return [one["Id"] for one in msgspec.json.decode(b"".join(sequence.chunks(now)))]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(("put", "put", "put", "remove", "list"))), max_size=80))
def test_a_sequence_is_always_sorted_and_reads_as_it_is(steps: list[tuple[int, str]]) -> None:
    sequence, truth = Pages(), dict[int, Entry]()
    limit, pages.LIMIT = pages.LIMIT, 4
    try:
        for number, what in steps:
            if what == "remove" and number in truth:
                sequence.remove(truth.pop(number))
            elif what == "put" and number in truth:
                new = made(number, State="exited")
                sequence.replace(truth[number], new)
                truth[number] = new
            elif what == "put":
                truth[number] = made(number)
                sequence.insert(truth[number])
            expected = sorted(truth.values(), key=lambda one: one.order)
            assert list(sequence) == expected
            assert len(sequence) == len(truth)
            assert all(0 < len(page.entries) <= 4 for page in sequence._pages)
            if what == "list":
                assert listed(sequence) == [one.id for one in expected]
    finally:
        pages.LIMIT = limit


def filled(count: int) -> tuple[Pages, list[Entry]]:
    sequence, entries = Pages(), [made(number) for number in range(count)]
    for one in entries:
        sequence.insert(one)
    return sequence, entries


def test_nothing_is_an_empty_array() -> None:
    assert b"".join(Pages().chunks(0)) == b"[]\n"


def test_a_key_is_there_once() -> None:
    sequence, entries = filled(3)
    with pytest.raises(KeyError):
        sequence.insert(entries[1])
    sequence.remove(entries[1])
    with pytest.raises(KeyError):
        sequence.remove(entries[1])


def test_one_change_spoils_one_page() -> None:
    sequence, entries = filled(2000)
    before = list(sequence.chunks(1e6))
    assert len(before) > 5
    again = list(sequence.chunks(1e6))
    sequence.replace(entries[700], made(700, State="exited"))
    after = list(sequence.chunks(1e6))
    assert before == again
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1
    assert sum(page._until == float("-inf") for page in sequence._pages) == 0


def test_a_page_is_joined_anew_when_a_text_is_due() -> None:
    sequence, _ = filled(3)
    assert b"".join(sequence.chunks(1e6)).count(b"Up 3 minutes") == 3
    assert b"".join(sequence.chunks(1e6 + 60)).count(b"Up 4 minutes") == 3


def test_a_writer_that_yields_goes_on_over_the_list_as_it_was() -> None:
    sequence, entries = filled(1500)
    chunks = sequence.chunks(1e6)
    first = next(chunks)
    for one in entries[::2]:
        sequence.remove(one)
    sequence.insert(made(5000))
    body = first + b"".join(chunks)
    assert len(msgspec.json.decode(body)) == 1500
    assert len(listed(sequence)) == 751
