"""Expressions of constraints, affinities and whitelists: `region==eu*`, `node!=/node-[12]/`, `storage==~ssd`.

Classic Swarm's grammar: key, `==` or `!=`, value; a leading `~` makes it soft; `/…/` is a regular expression found
anywhere in the text, all else is compared as a whole with `*` for any run of characters. Other regular-expression
characters in such a whole value stay alive, as they always were (`node==node-[12]`); where there are none, `.` is only
a dot.

A client chooses the pattern and the event loop pays for it, therefore globs are matched by plain finds and regular
expressions by `model.pattern`, both in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from swarmproxy.model import pattern
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
        except pattern.BadPattern as error:
            raise BadRequest(f"Value '{value}' is invalid: {error}") from error
        return expression
    raise BadRequest("One of operator ==, != is expected")


@lru_cache(maxsize=1024)
def _matcher(value: str) -> Callable[[str], bool]:
    if len(value) >= 2 and value[0] == value[-1] == "/":
        return pattern.search(value[1:-1])
    if _ALIVE.search(value):
        return pattern.fullmatch(value.replace("*", ".*"))
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
