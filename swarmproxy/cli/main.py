"""The dispatcher: `swarmproxy VERB …` imports the verb's module and nothing else.

A verb is a module `swarmproxy/cli/VERB.py` with `SUMMARY`, `add_arguments(parser)` and `run(args) -> exit status`.
Imported one at a time because they are heavy in different ways: an agent needs no HTTP server, `lab` needs neither.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from typing import Protocol, cast

import swarmproxy

VERBS = ("manage", "join", "list", "node", "lab")


class Verb(Protocol):
    """What every verb's module offers."""

    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


def offered() -> list[str]:
    """The verbs this installation has."""
    return [verb for verb in VERBS if importlib.util.find_spec(f"swarmproxy.cli.{verb}") is not None]


def load(verb: str) -> Verb:
    return cast(Verb, importlib.import_module(f"swarmproxy.cli.{verb}"))


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in offered():
        verb = load(words[0])
        parser = argparse.ArgumentParser(prog=f"swarmproxy {words[0]}", description=verb.SUMMARY)
        verb.add_arguments(parser)
        try:
            return verb.run(parser.parse_args(words[1:]))
        except KeyboardInterrupt:
            return 130
    parser = argparse.ArgumentParser(prog="swarmproxy", description=swarmproxy.__doc__)
    parser.add_argument("--version", action="version", version=f"swarmproxy {swarmproxy.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in offered():
        verbs.add_parser(name, help=load(name).SUMMARY)
    parser.parse_args(words)  # prints help, or says what is wrong, and exits
    return 2
