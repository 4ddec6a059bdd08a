"""Calls that change nothing: `_ping`, the container list, `info`, inspect; on one kept-alive connection each."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.client import Client
from benchmarks.ground import RUNNING, Ground, Match, Peer, listed
from benchmarks.rounds import Contender, Sample, measure
from benchmarks.table import Row, Suite

LIST = "/containers/json?all=1"


def timed(client: Client, path: str) -> Callable[[], Sample]:
    """One GET, its body read to the end."""
    request = client.request("GET", path)

    def once() -> Sample:
        begun = time.perf_counter()
        status, _ = client.ask(request)
        spent = time.perf_counter() - begun
        if status != 200:
            raise RuntimeError(f"GET {path}: {status}")
        return {"": spent}

    return once


def run(ground: Ground, *, rounds: int, each: int) -> Suite:
    """Fills the bare engines up to what the whole cluster holds, then measures."""
    ground.fill_bare(ground.count, RUNNING * len(ground.cluster.nodes))
    with ExitStack() as stack:

        def contender(name: str, peer: Peer, path: str) -> Contender:
            return Contender(name, timed(stack.enter_context(peer.client()), path))

        contenders = []
        rows = []
        for title, path in (("_ping", "/_ping"), ("list", LIST), ("info", "/info")):
            contenders.append(contender(f"{title} proxy", ground.proxy, path))
            for match in ground.matches:
                contenders.append(contender(f"{title} bare {match.version}", match.bare, path))
                contenders.append(contender(f"{title} member {match.version}", match.member, path))
            rows += _rows(ground, title)
        for match in ground.matches:
            path = f"/containers/{_running(ground, match)}/json"
            contenders.append(contender(f"inspect proxy {match.version}", ground.proxy, path))
            contenders.append(contender(f"inspect member {match.version}", match.member, path))
            rows.append(
                Row(
                    what="inspect, a running container",
                    subject=f"inspect proxy {match.version}",
                    comparator=f"inspect member {match.version}",
                    beside=f"the same engine {match.version}, asked directly",
                    added=0.0005,
                )
            )
        samples = measure(contenders, rounds=rounds, each=each, lead=3, title="reads")
    return Suite("reads", samples, rows)


def _rows(ground: Ground, title: str) -> list[Row]:
    names = {"_ping": "_ping", "list": "containers/json?all=1", "info": "info"}
    limit = None if title == "_ping" else 1.0
    rows = []
    for match in ground.matches:
        what = names[title] if title == "_ping" else f"{names[title]}, {ground.count} containers in the cluster"
        bare = f"engine {match.version}" + ("" if title == "_ping" else f" with {ground.count}")
        rows.append(Row(what, f"{title} proxy", f"{title} bare {match.version}", beside=bare, ratio=limit))
        if title != "_ping":
            third = f"engine {match.version} with {ground.per_node}, a third"
            rows.append(Row(what, f"{title} proxy", f"{title} member {match.version}", beside=third))
    return rows


def _running(ground: Ground, match: Match) -> str:
    with match.member.client() as client:
        return str(next(one["Id"] for one in listed(client) if one["State"] == "running"))
