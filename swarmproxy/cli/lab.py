"""`swarmproxy lab`: a cluster of real Docker engines on this machine, to try, test and measure with."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from swarmproxy.lab import embedded
from swarmproxy.lab.command import LabError, say
from swarmproxy.lab.lab import Lab, Unavailable
from swarmproxy.lab.plan import DEFAULT_NAME, PlanError, parse_ports
from swarmproxy.lab.report import TRY_CLUSTER, export_lines, status_lines, try_lines

SUMMARY = "real engines on this machine: up, down, status, faults"

_EPILOG = """\
Each node is a set of namespaces with a stock dockerd in it. It has its own /run, /etc/docker, /etc/hosts and
/etc/resolv.conf, and like any remote host it does not see where clients keep their files: /root, /home, /srv, /tmp,
the checkout and the folder `up` was called from are empty there (but for the programs the agent itself is made of).
Names outside the lab do not resolve there, addresses outside cannot be reached. Nodes are not a security boundary.

In the environment: SWARMPROXY_LAB, SWARMPROXY_LAB_SUBNET, SWARMPROXY_LAB_PORTS, SWARMPROXY_LAB_NODES are defaults
of the options; SWARMPROXY_LAB_DOCKERD holds more flags for every dockerd, for example --live-restore."""
_NODE_HELP = "node-1, n1 or 1; proxy-1; etcd"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    environment = os.environ
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "--name",
        default=environment.get("SWARMPROXY_LAB", DEFAULT_NAME),
        help="which lab; several can coexist [%(default)s]",
    )
    verbs = parser.add_subparsers(dest="lab_verb", metavar="VERB", required=True)
    up = verbs.add_parser("up", help="make it, or repair it")
    up.add_argument("--nodes", type=int, default=_number("SWARMPROXY_LAB_NODES"), help="1 to 9 [3]")
    up.add_argument("--subnet", default=environment.get("SWARMPROXY_LAB_SUBNET"), help="a /24 [10.232.0.0/24]")
    up.add_argument(
        "--ports", default=environment.get("SWARMPROXY_LAB_PORTS"), help="one per proxy, on loopback [3375,3376]"
    )
    up.add_argument("--no-cluster", action="store_true", help="engines and etcd only: no agents, no proxies")
    down = verbs.add_parser("down", help="remove what up made")
    down.add_argument("--all", action="store_true", help="also the cached packages and images, if no other lab is up")
    verbs.add_parser("status", help="what runs where")
    for verb, text in (
        ("stop", "let it hang: the whole host, containers too, or a part"),
        ("cont", "end a hang"),
        ("kill", "power cut; up switches on again"),
    ):
        sub = verbs.add_parser(verb, help=text)
        sub.add_argument("node", metavar="NODE", help=_NODE_HELP)
        part = sub.add_mutually_exclusive_group()
        part.add_argument(
            "--engine", dest="part", action="store_const", const="engine", help="only dockerd, containerd"
        )
        part.add_argument("--agent", dest="part", action="store_const", const="agent", help="only swarmproxy join")
    run_in = verbs.add_parser("exec", help="run a command in a node")
    run_in.add_argument("node", metavar="NODE", help="node-1, n1 or 1")
    run_in.add_argument("command", metavar="-- CMD", nargs=argparse.REMAINDER)


def _number(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    return int(text) if text.isdigit() else None


def run(args: argparse.Namespace) -> int:
    try:
        return _VERBS[args.lab_verb](args)
    except (LabError, PlanError) as error:
        say(str(error))
        return 1


def _up(args: argparse.Namespace) -> int:
    lab = Lab(
        name=args.name,
        subnet=args.subnet,
        ports=None if args.ports is None else parse_ports(args.ports),
        nodes=args.nodes,
        cluster=not args.no_cluster,
    )
    embedded.down(args.name)  # it would hold the port
    try:
        lab.up()
    except Unavailable as error:
        if args.no_cluster:
            raise
        say(f"{error}; falling back to one proxy before this machine's own engine")
        print("\n".join((*embedded.up(args.name, lab.plan.ports[0]), "", *TRY_CLUSTER)))
        return 0
    print("\n".join((*status_lines(lab), "", *export_lines(lab), "", *try_lines(lab))))
    return 0


def _down(args: argparse.Namespace) -> int:
    embedded.down(args.name)
    lab = Lab(name=args.name)
    if os.geteuid() == 0 or lab.folder.exists():  # else there is nothing, and nothing to refuse either
        lab.down(everything=args.all)
    return 0


def _status(args: argparse.Namespace) -> int:
    print("\n".join(embedded.status(args.name) or status_lines(Lab(name=args.name))))
    return 0


def _fault(verb: str) -> Callable[[argparse.Namespace], int]:
    def act(args: argparse.Namespace) -> int:
        getattr(Lab(name=args.name), verb)(args.node, args.part or "host")
        return 0

    return act


def _exec(args: argparse.Namespace) -> int:
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise LabError("exec: no command")
    line = [*Lab(name=args.name).node(args.node).enter(), *command]
    sys.stdout.flush()
    os.execvp(line[0], line)


_VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "up": _up,
    "down": _down,
    "status": _status,
    "stop": _fault("stop"),
    "cont": _fault("cont"),
    "kill": _fault("kill"),
    "exec": _exec,
}
