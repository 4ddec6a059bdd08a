"""Create and start of one container, over and over: on the default bridge, and on a network.

Through the proxy the container is pinned to a node by a constraint, and the comparator is a bare engine of that node's
version: engine against the same engine plus us. Its removal is timed too but is no part of the figure.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.client import Client
from benchmarks.ground import Ground, Peer, body, decoded
from benchmarks.rounds import Contender, Sample, measure
from benchmarks.table import Row, Suite

NETWORK = "bench-net"


def lifecycle(client: Client, *, node: str = "", network: str = "") -> Callable[[], Sample]:
    """One container's life."""
    data = body(node=node, network=network)
    create = client.request("POST", "/containers/create", data)

    def once() -> Sample:
        begun = time.perf_counter()
        status, answer = client.ask(create)
        made = time.perf_counter()
        if status != 201:
            raise RuntimeError(f"create: {status} {answer.decode(errors='replace')}")
        identity = decoded(answer)["Id"]
        path = f"/containers/{identity}"
        asked = time.perf_counter()
        status, answer = client.ask(client.request("POST", f"{path}/start"))
        started = time.perf_counter()
        if status != 204:
            raise RuntimeError(f"start: {status} {answer.decode(errors='replace')}")
        client.must("DELETE", f"{path}?force=1", status=(204,))
        gone = time.perf_counter()
        create_, start = made - begun, started - asked
        return {"": create_ + start, "create": create_, "start": start, "rm": gone - started}

    return once


def run(ground: Ground, *, rounds: int) -> Suite:
    rows = []
    contenders = []
    with ExitStack() as stack:
        peers: list[Peer] = [ground.proxy, *(match.bare for match in ground.matches)]
        for peer in peers:
            client = stack.enter_context(peer.client())
            client.must("POST", "/networks/create", json.dumps({"Name": NETWORK}).encode(), status=(201,))

        def contender(name: str, peer: Peer, *, node: str = "", network: str = "") -> Contender:
            client = stack.enter_context(peer.client())
            return Contender(name, lifecycle(client, node=node, network=network))

        for match in ground.matches:
            for network, kind, limit in (("", "no cluster network", 1.1), (NETWORK, "cluster network", 1.25)):
                proxy, bare = f"{kind}, proxy {match.version}", f"{kind}, bare {match.version}"
                contenders.append(contender(proxy, ground.proxy, node=match.node, network=network))
                contenders.append(contender(bare, match.bare, network=network))
                beside = f"engine {match.version}, {'a bridge network' if network else 'default bridge'}"
                rows.append(Row(f"create + start, {kind}", proxy, bare, beside=beside, ratio=limit))
                rows += [Row(f"  {part}", proxy, bare, part=part, beside=beside) for part in ("create", "start", "rm")]
        samples = measure(contenders, rounds=rounds, warm=2, title="create + start")
        for peer in peers:
            client = stack.enter_context(peer.client())
            client.must("DELETE", f"/networks/{NETWORK}", status=(204,))
    return Suite("containers", samples, rows)
