"""`docker compose up -d` of two services and their network, as a whole process: what a person waits for.

Through the proxy once with both services on one node, once on two nodes of one version (the usual case), each against a
bare engine of that version. `down` is timed too but is no part of the figure.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.ground import IMAGE, Ground, Peer, command
from benchmarks.rounds import Contender, Sample, measure
from benchmarks.table import Row, Suite

LIMIT = 1.5
SECONDS = 120


def project(web: str, client: str) -> str:
    """Two services that find one another by name."""
    services = []
    for name, node in (("web", web), ("client", client)):
        place = f"    environment: ['constraint:node=={node}']\n" if node else ""
        services.append(f"  {name}:\n    image: {IMAGE}\n    command: sleep 86400\n    stop_signal: SIGKILL\n{place}")
    return "services:\n" + "".join(services)


def ups_and_downs(ground: Ground, peer: Peer, file: Path, name: str) -> Callable[[], Sample]:
    """One `up -d` and its `down`."""
    env = {**os.environ, **ground.env(peer)}
    compose = command(peer, "docker", "compose", "-p", name, "-f", str(file))

    def call(*verb: str) -> float:
        begun = time.perf_counter()
        done = subprocess.run([*compose, *verb], env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode:
            raise RuntimeError(f"docker compose {' '.join(verb)}: {done.stderr.strip()[-500:]}")
        return time.perf_counter() - begun

    return lambda: {"": call("up", "-d"), "down": call("down")}


def run(ground: Ground, *, rounds: int) -> Suite:
    rows: list[Row] = []
    contenders: list[Contender] = []
    alike = [node.name for node in ground.cluster.nodes if node.version() == ground.cluster.node(1).version()]
    with tempfile.TemporaryDirectory(prefix="swarmproxy-bench-") as folder:

        def contender(name: str, peer: Peer, web: str = "", client: str = "") -> str:
            slug = f"bench{len(contenders)}"
            file = Path(folder) / f"{slug}.yaml"
            file.write_text(project(web, client))
            contenders.append(Contender(name, ups_and_downs(ground, peer, file, slug)))
            return name

        for match in ground.matches:
            bare = contender(f"bare {match.version}", match.bare)
            beside = f"engine {match.version}"
            one = contender(f"one node {match.version}", ground.proxy, match.node, match.node)
            rows += _rows("compose up, 2 services on one node", one, bare, beside)
            if match.node == alike[0] and len(alike) > 1:
                two = contender(f"two nodes {match.version}", ground.proxy, *alike[:2])
                rows += _rows("compose up, 2 services on two nodes", two, bare, beside)
        samples = measure(contenders, rounds=rounds, title="compose")
    return Suite("compose", samples, rows)


def _rows(what: str, subject: str, bare: str, beside: str) -> list[Row]:
    return [
        Row(what, subject, bare, beside=beside, ratio=LIMIT),
        Row("  down", subject, bare, part="down", beside=beside),
    ]
