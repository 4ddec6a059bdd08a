from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproxy.model.errors import BadRequest
from swarmproxy.scheduler.expression import Expression, parse


@pytest.mark.parametrize(
    ("text", "subjects", "holds"),
    [
        ("region==eu", ("eu",), True),
        ("region==eu", ("eu-1",), False),
        ("region==EU", ("eu",), False),
        ("region==eu*", ("eu-1",), True),
        ("region==*eu", ("eu-1",), False),
        ("region==*", ("",), True),
        ("region==e*-*1", ("eu-west-1",), True),
        ("region==e*-*2", ("eu-west-1",), False),
        ("region==ab*ba", ("aba",), False),
        ("region!=eu*", ("us",), True),
        ("region!=eu*", ("us", "eu-1"), False),
        ("region==eu", (), False),
        ("region!=eu", (), True),
        ("image==nginx:1.1", ("nginx:1x1",), False),
        ("node==node-[12]", ("node-1",), True),
        ("node==node-[12]", ("node-12",), False),
        ("node==node-.+", ("node-12",), True),
        ("node==node-1|node-2", ("node-2",), True),
        ("node==node-1|node-2", ("node-11",), False),
        ("node==/node-[12]/", ("my-node-12",), True),
        ("node==/^node-[12]$/", ("node-12",), False),
        ("node==/(?i)NODE/", ("node-1",), True),
        ("node!=/node-[12]/", ("node-3",), True),
        ("node==~/node/", ("node-3",), True),
        ("node==~node-1", ("node-1",), True),
        ("a_.-b==x", ("x",), True),
        ("node===x", ("=x",), True),
    ],
)
def test_what_matches(text: str, subjects: tuple[str, ...], holds: bool) -> None:
    assert parse(text).holds(*subjects) is holds


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("node==n1", Expression("node", "==", "n1")),
        ("node!=~n1", Expression("node", "!=", "n1", soft=True)),
        ("node==~/n1/", Expression("node", "==", "/n1/", soft=True)),
        ("storage==a!=b", None),
        ("kind==a b", Expression("kind", "==", "a b")),
    ],
)
def test_what_is_read(text: str, expression: Expression | None) -> None:
    if expression is None:
        with pytest.raises(BadRequest):
            parse(text)
    else:
        assert parse(text) == expression


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("node", "One of operator ==, != is expected"),
        ("node=n1", "One of operator ==, != is expected"),
        ("", "One of operator ==, != is expected"),
        ("n==x", "Key 'n' is invalid"),
        ("==x", "Key '' is invalid"),
        ("1node==x", "Key '1node' is invalid"),
        ("no de==x", "Key 'no de' is invalid"),
        ("a!=b==c", "Key 'a!=b' is invalid"),
        ("node\n==x", "Key 'node\n' is invalid"),
        ("node==", "Value '' is invalid"),
        ("node==~", "Value '~' is invalid"),
        ("node==~~x", "Value '~~x' is invalid"),
        ("node==a,b", "Value 'a,b' is invalid"),
        ("node==\u00e9t\u00e9", "Value '\u00e9t\u00e9' is invalid"),
        ("node==/[/", "Value '/[/' is invalid: "),
        ("node==a(", "Value 'a(' is invalid: "),
        ("node==/a(?=b)/", "Value '/a(?=b)/' is invalid"),
        (r"node==/(a)\1/", "Value '/(a)\\1/' is invalid: "),
    ],
)
def test_what_is_refused_and_how(text: str, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(text)
    assert caught.value.status == 400
    assert caught.value.message.startswith(words)
    if not words.endswith(": "):
        assert caught.value.message == words


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|aa)+$", "(a?a)*$", "((a+)b?)*$", "(?:a*)*$", "(a+)*?$", "a*" * 30 + "$"]
)
def test_no_pattern_stops_the_loop(pattern: str) -> None:
    expression = parse(f"node==/^{pattern}/")
    started = time.process_time()
    assert not expression.holds("a" * 2000 + "!")
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize("pattern", ["(ab)+c*", "(a|b)c+", "(a+)?b", r"(\+)+", "[(]+)?x", "([+*])+", "a+b+"])
def test_plain_repeats_are_taken(pattern: str) -> None:
    if pattern == "[(]+)?x":  # an unbalanced parenthesis is still an error
        with pytest.raises(BadRequest, match=r"unexpected \)"):
            parse(f"node==/{pattern}/")
    else:
        parse(f"node==/{pattern}/")


def test_patterns_are_gos() -> None:
    with pytest.raises(BadRequest, match="bad repetition operator"):
        parse("node==/(a+)?+$/")
    assert parse("node==/^[[:alpha:]]+$/").holds("abc")
    assert not parse("node==/^[[:alpha:]]+$/").holds("a1")


def test_many_stars_cost_nothing() -> None:
    expression = parse("node==" + "*a" * 40 + "*b")
    started = time.process_time()
    assert not expression.holds("a" * 2000)
    assert time.process_time() - started < 0.1


@given(st.text("ab*", min_size=1, max_size=6), st.text("ab", max_size=8))
def test_a_glob_is_what_a_slow_match_says(glob: str, text: str) -> None:
    def slow(rest: str, subject: str) -> bool:
        if not rest:
            return not subject
        if rest[0] == "*":
            return slow(rest[1:], subject) or (bool(subject) and slow(rest, subject[1:]))
        return subject[:1] == rest[0] and slow(rest[1:], subject[1:])

    assert parse(f"key=={glob}").holds(text) is slow(glob, text)


@given(st.text(st.characters(max_codepoint=300), max_size=12))
def test_nothing_but_a_refusal_comes_out_of_garbage(text: str) -> None:
    try:
        parse(text).holds("node-1", "")
    except BadRequest:
        pass
    try:
        parse(f"node=={text}").holds("node-1", "")
    except BadRequest:
        pass


@given(st.text("ab()[]*+?|^$\\.~/-", min_size=1, max_size=12))
def test_no_accepted_pattern_hangs_or_raises(value: str) -> None:
    try:
        expression = parse(f"node=={value}")
    except BadRequest:
        return
    started = time.process_time()
    expression.holds("a" * 30 + "c")
    assert time.process_time() - started < 1


def test_as_classic_swarm_lists_it() -> None:
    assert str(parse("node==~n*")) == "node==n* (soft=true)"
    assert str(parse("node!=n")) == "node!=n (soft=false)"
