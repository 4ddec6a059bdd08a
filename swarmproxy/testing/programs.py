"""What a command line does, in place of a process.

`echo`, `true`, `false`, `sh -c "exit N"` end at once; a first word beginning with `nosuch` is not an executable;
anything else runs until it is stopped, killed or told to exit, and echoes its standard input like `cat`. An exec
without standard input ends at once with 0 unless its name says that it lasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LASTING", "Program", "program"]

LASTING = frozenset(("cat", "sh", "sleep", "tail", "top", "yes"))


@dataclass(frozen=True, slots=True)
class Program:
    output: bytes = b""
    code: int | None = None
    """Exit code; None = it goes on."""
    missing: bool = False
    """No such executable."""


def program(command: Sequence[str]) -> Program:
    words = list(command)
    if len(words) == 3 and words[0] in ("sh", "/bin/sh", "bash") and words[1] == "-c":
        words = words[2].split()
    first = words[0] if words else ""
    if first.startswith("nosuch"):
        return Program(missing=True)
    if first == "echo":
        return Program(" ".join(word.strip("'\"") for word in words[1:]).encode() + b"\n", 0)
    if first in ("true", "false", ":"):
        return Program(code=int(first == "false"))
    if first == "exit":
        return Program(code=int(words[1]) if len(words) > 1 and words[1].isdigit() else 0)
    return Program()
