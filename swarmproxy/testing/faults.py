"""What can go wrong with an engine, as rules that a test adds.

A rule names calls by method and path pattern and is used up after `times` of them. `drop` cuts the connection before
the request takes effect, `lose` after it: the caller cannot tell them apart, which is what they are for.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["Call", "Fault", "Faults"]

Kind = Literal["status", "drop", "lose", "hang", "delay"]


class Call(NamedTuple):
    """One request as it was seen. `path` is without the version, `query` as sent, `version` "" when there was none."""

    method: str
    path: str
    query: str
    body: bytes
    version: str = ""


@dataclass(slots=True)
class Fault:
    """Args:
    kind: what happens.
    method: "" = any.
    path: shell pattern over the path without version, `/containers/*/start`; a `*` crosses slashes.
    times: how often; None = until removed.
    status, message: the answer of kind "status".
    seconds: of kind "delay".
    match: a further condition.
    """

    kind: Kind
    method: str = ""
    path: str = "*"
    times: int | None = 1
    status: int = 500
    message: str = "injected failure"
    seconds: float = 0.0
    match: Callable[[Call], bool] | None = None

    def fits(self, call: Call) -> bool:
        if self.times == 0 or (self.method and self.method != call.method):
            return False
        return fnmatch.fnmatchcase(call.path, self.path) and (self.match is None or self.match(call))


class Faults:
    """The rules of one engine; the first that fits is used."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self.latency = 0.0
        """Seconds before every answer."""
        self.rate = 0
        """Bytes per second of every body; 0 = no limit."""

    def add(self, fault: Fault) -> Fault:
        self.rules.append(fault)
        return fault

    def take(self, call: Call) -> Fault | None:
        for fault in self.rules:
            if fault.fits(call):
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        self.rules.remove(fault)
                return fault
        return None

    def clear(self) -> None:
        self.rules.clear()
        self.latency, self.rate = 0.0, 0
