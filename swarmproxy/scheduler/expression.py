"""Expressions of constraints, affinities and whitelists: `region==eu*`, `node!=/node-[12]/`, `storage==~ssd`.

Classic Swarm's grammar: key, `==` or `!=`, value; a leading `~` makes it soft; `/…/` is a regular expression found
anywhere in the text, all else is compared as a whole with `*` for any run of characters. Other regular-expression
characters in such a whole value stay alive, as they always were (`node==node-[12]`); where there are none, `.` is only
a dot.

A client chooses the pattern and the event loop pays for it, therefore globs are matched by plain finds in linear time
and a repeat within a repeated group, the one way to make a short text take minutes, is refused as invalid.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from swarmproxy.model.errors import BadRequest

__all__ = ["EQUAL", "NOT_EQUAL", "Expression", "parse"]

EQUAL = "=="
NOT_EQUAL = "!="

_KEY = re.compile(r"[a-z_][a-z0-9\-_.]+", re.IGNORECASE | re.ASCII)
_VALUE = re.compile(r"[=!/]?~?[a-z0-9:\-_\s.*/()?+\[\]\\^$|]+", re.IGNORECASE | re.ASCII)
_ALIVE = re.compile(r"[()?+\[\]\\^$|]")


@dataclass(frozen=True, slots=True)
class Expression:
    """One parsed expression. `value` is without the `~`."""

    key: str
    operator: str
    value: str
    soft: bool = False

    @property
    def text(self) -> str:
        return f"{self.key}{self.operator}{self.value}"

    def __str__(self) -> str:
        """As classic Swarm lists it in a refusal."""
        return f"{self.text} (soft={'true' if self.soft else 'false'})"

    def holds(self, *subjects: str) -> bool:
        """`==`: any subject matches; `!=`: none does (so it holds where there is nothing to compare)."""
        found = any(map(_matcher(self.value), subjects))
        return found == (self.operator == EQUAL)


def parse(text: str) -> Expression:
    """Raises BadRequest in classic Swarm's words."""
    for operator in (EQUAL, NOT_EQUAL):
        key, found, value = text.partition(operator)
        if not found:
            continue
        if not _KEY.fullmatch(key):
            raise BadRequest(f"Key '{key}' is invalid")
        if not _VALUE.fullmatch(value):
            raise BadRequest(f"Value '{value}' is invalid")
        expression = Expression(key, operator, value.removeprefix("~"), soft=value.startswith("~"))
        try:
            _matcher(expression.value)
        except (re.error, RecursionError, OverflowError, FutureWarning) as error:
            raise BadRequest(f"Value '{value}' is invalid: {error}") from error
        return expression
    raise BadRequest("One of operator ==, != is expected")


@lru_cache(maxsize=1024)
def _matcher(value: str) -> Callable[[str], bool]:
    if len(value) >= 2 and value[0] == value[-1] == "/":
        pattern = _compile(value[1:-1])
        return lambda text: pattern.search(text) is not None
    if _ALIVE.search(value):
        pattern = _compile(value.replace("*", ".*"))
        return lambda text: pattern.fullmatch(text) is not None
    if "*" not in value:
        return value.__eq__
    parts = value.split("*")
    return lambda text: _glob(parts, text)


def _glob(parts: list[str], text: str) -> bool:
    head, *middle, tail = parts
    if len(text) < len(head) + len(tail) or not text.startswith(head) or not text.endswith(tail):
        return False
    at, end = len(head), len(text) - len(tail)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _compile(pattern: str) -> re.Pattern[str]:
    if _repeats_a_repeat(pattern):
        raise re.error("a repeated group that holds a repeat")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # [[:alpha:]] means something else here than it did there
        return re.compile(pattern)


def _repeats_a_repeat(pattern: str) -> bool:
    """Whether `*` or `+` follows a group in which something is repeated or chosen: (a+)+, (a|ab)*."""
    varied = [False]  # one a group that is open
    closed = False  # the last thing read was the end of a varied group
    inside = False  # within [...]
    at = 0
    while at < len(pattern):
        char = pattern[at]
        step = 2 if char == "\\" else 1
        if inside:
            inside = char != "]" or pattern[at - 1] == "["
            closed = False
        elif char in "*+?":
            if closed and char != "?":
                return True
            varied[-1] = True
            closed = closed and char == "?"
        elif char == "(":
            varied.append(False)
            closed = False
            step = 2 if pattern.startswith("(?", at) else 1
        elif char == ")" and len(varied) > 1:
            closed = varied.pop()
            varied[-1] = varied[-1] or closed
        else:
            inside = char == "["
            varied[-1] = varied[-1] or char == "|"
            closed = False
        at += step
    return False
