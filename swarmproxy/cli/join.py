"""`swarmproxy join`: the agent beside an engine."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from swarmproxy.agent import PLUGINS, AgentError, AgentOptions, leave, serve

SUMMARY = "run beside an engine: make it a member, carry its networks, answer DNS"

DEFAULT_STATE = Path("/var/lib/swarmproxy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("discovery", metavar="DISCOVERY", help="the cluster's store: etcd://h1,h2,h3/prefix")
    parser.add_argument("--advertise", "--addr", required=True, metavar="URL",
                        help="where proxies reach this engine: http://HOST:2375")  # fmt: skip
    parser.add_argument("--name", default="", help="of this node; the engine's host name otherwise")
    parser.add_argument("--engine", default="unix:///run/docker.sock", metavar="URL", help="[%(default)s]")
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, metavar="DIR", help="[%(default)s]")
    parser.add_argument("--insecure", action="store_true", help="allow plain text to the store beyond this host")
    parser.add_argument(
        "--label", action="append", default=[], type=_label, metavar="K=V", help="of this node; repeatable"
    )
    parser.add_argument("--vtep", default="", metavar="IP", help="underlay address for VXLAN [the advertised one]")
    parser.add_argument("--underlay", default="", metavar="IF", help="interface that carries VXLAN [the VTEP's]")
    parser.add_argument("--port", type=int, default=4789, help="UDP port of VXLAN, the same on all nodes [%(default)s]")
    parser.add_argument("--plugin-dir", type=Path, default=PLUGINS, metavar="DIR", help="[%(default)s]")
    parser.add_argument(
        "--heartbeat", default="", metavar="TIME", help="accepted as in classic Swarm; the lease renews itself"
    )
    parser.add_argument("--ttl", type=_seconds, default=6.0, metavar="TIME",
                        help="after which a silent agent counts as dead, such as 10s [6s]")  # fmt: skip
    parser.add_argument("--leave", action="store_true",
                        help="instead: take this node out of the cluster; its agent must be stopped")  # fmt: skip
    parser.add_argument("--debug", action="store_true", help="log more")


def _label(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _seconds(text: str) -> float:
    """Go's durations as classic Swarm took them: 30s, 1m30s, 500ms; a bare number is seconds."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    rest, total = text.strip(), 0.0
    try:
        while rest:
            digits = len(rest) - len(rest.lstrip("0123456789."))
            unit = next((each for each in units if rest[digits:].startswith(each)), "")
            total += float(rest[:digits]) * units.get(unit, 1.0)
            if not unit and rest[digits:]:
                raise ValueError
            rest = rest[digits + len(unit) :]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration") from None
    if total < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is less than a second")
    return total


def run(args: argparse.Namespace) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG if args.debug else logging.INFO,
                        format="%(asctime)s %(levelname)s %(name)s: %(message)s")  # fmt: skip
    for noisy in ("pyroute2", "asyncio", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    opts = AgentOptions(
        discovery=args.discovery, advertise=args.advertise, state=args.state, name=args.name, engine=args.engine,
        insecure=args.insecure, labels=dict(args.label), vtep=args.vtep, interface=args.underlay, port=args.port,
        lease=args.ttl, plugins=args.plugin_dir,
    )  # fmt: skip
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(leave(opts) if args.leave else serve(opts))
    except AgentError as error:
        print(f"swarmproxy join: {error}", file=sys.stderr)
        return 1
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
