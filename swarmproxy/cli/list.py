"""`swarmproxy list DISCOVERY`: the addresses of a cluster's members, one a line."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys

from swarmproxy.discovery.open import members
from swarmproxy.discovery.store import StoreError

SUMMARY = "the members that a discovery URL names"

_UNITS = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "h": 3600.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "discovery",
        nargs="?",
        default=os.environ.get("SWARM_DISCOVERY"),
        metavar="DISCOVERY",
        help="etcd://h1,h2,h3/prefix, nodes://h1:2375,h2:2375, file://path; nothing: this machine's [$SWARM_DISCOVERY]",
    )
    parser.add_argument("--timeout", type=_seconds, default=10.0, metavar="TIME", help="how long to wait [10s]")
    parser.add_argument("--insecure", action="store_true", help="plain text to an etcd beyond this machine")


def run(args: argparse.Namespace) -> int:
    try:
        found = asyncio.run(_ask(args.discovery, args.timeout, args.insecure))
    except TimeoutError:
        print(f"swarmproxy list: no answer within {args.timeout:g} s", file=sys.stderr)
        return 1
    except StoreError as error:
        print(f"swarmproxy list: {error}", file=sys.stderr)
        return 1
    for address in found:
        print(address)
    return 0


async def _ask(discovery: str | None, timeout: float, insecure: bool) -> list[str]:
    async with asyncio.timeout(timeout):
        return [member.address for member in await members(discovery, insecure=insecure)]


def _seconds(text: str) -> float:
    """Classic Swarm's durations ("10s", "1m"), or plain seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text}: not a time such as 10s")
    return float(found.group(1)) * _UNITS[found.group(2)]
