"""What became of a transaction whose answer was lost."""

from __future__ import annotations

import pytest

from swarmproxy.discovery.store import KV, Absent, Compare, Delete, ModIs, NoneNewer, Op, Put, TxnResult
from swarmproxy.discovery.txn import check, guarded, outcome, touched

KNOWN = 10


@pytest.mark.parametrize(
    ("compares", "ops", "expect"),
    [
        ([], [Put("a", b"")], False),
        ([Absent("a")], [Put("a", b"")], True),
        ([Absent("a")], [Put("b", b"")], False),
        ([Absent("a")], [Delete("a")], False),
        ([ModIs("a", 7)], [Put("a", b"")], True),
        ([ModIs("a", 7)], [Delete("a")], True),
        ([ModIs("a", 7)], [Put("b", b"")], False),
        ([ModIs("a", 0)], [Put("a", b"")], True),
        ([ModIs("a", 0)], [Delete("a")], False),
        ([NoneNewer("n/", 7)], [Put("n/1", b"")], True),
        ([NoneNewer("n/", 7)], [Delete("n/1")], False),
        ([ModIs("fence", 3), Absent("a")], [Put("a", b"")], True),
    ],
)
def test_guarded(compares: list[Compare], ops: list[Op], expect: bool) -> None:
    assert guarded(compares, ops) is expect


CREATE: tuple[list[Compare], list[Op]] = ([Absent("a"), NoneNewer("n/", 9)], [Put("a", b"me"), Put("n/1", b"x", 5)])
CHANGE: tuple[list[Compare], list[Op]] = ([ModIs("a", 7)], [Put("a", b"me"), Delete("b")])


@pytest.mark.parametrize(
    ("asked", "found", "expect"),
    [
        #  all there, in one revision, with our values
        (CREATE, [KV("a", b"me", 12, 12), KV("n/1", b"x", 12, 12, 5)], TxnResult(True, 12)),
        #  another value, another lease, half of it, two revisions, from before: not proof of ours
        (CREATE, [KV("a", b"you", 12, 12), KV("n/1", b"x", 12, 12, 5)], None),
        (CREATE, [KV("a", b"me", 12, 12), KV("n/1", b"x", 12, 12, 6)], None),
        (CREATE, [KV("a", b"me", 12, 12)], None),
        (CREATE, [KV("a", b"me", 12, 12), KV("n/1", b"x", 11, 13, 5)], None),
        (CREATE, [], None),
        #  somebody held the name before we first asked: certainly refused
        (CREATE, [KV("a", b"you", 9, 9)], TxnResult(False, KNOWN)),
        (CREATE, [KV("a", b"me", 9, 9), KV("n/1", b"x", 9, 9, 5)], TxnResult(False, KNOWN)),
        (CHANGE, [KV("a", b"me", 3, 11)], TxnResult(True, 11)),
        (CHANGE, [KV("a", b"me", 3, 11), KV("b", b"", 2, 2)], None),
        (CHANGE, [KV("a", b"you", 3, 9)], TxnResult(False, KNOWN)),
        (CHANGE, [KV("a", b"you", 3, 12)], None),
        (CHANGE, [], None),
    ],
)
def test_outcome(asked: tuple[list[Compare], list[Op]], found: list[KV], expect: TxnResult | None) -> None:
    assert outcome(*asked, {kv.key: kv for kv in found}, KNOWN) == expect


def test_touched_names_each_key_once() -> None:
    assert touched([Absent("a"), ModIs("c", 1), NoneNewer("n/", 1)], [Put("a", b""), Delete("b")]) == ["a", "b", "c"]


def test_check_refuses_what_no_store_takes() -> None:
    check([Absent("a")] * 128, [Put(str(number), b"") for number in range(128)])
    with pytest.raises(ValueError):
        check([Absent("a")] * 129, [])
    with pytest.raises(ValueError):
        check([], [Put("a", b""), Put("a", b"")])
