"""What the processes take while nothing happens: memory now, CPU over a while, beside the engine's own daemons.

PSS counts shared pages by share: several Pythons on one machine share their libraries, so RSS alone would count these
again for each. CPU is user plus system time of all threads, in per cent of one core.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ground import Ground
from swarmproxy.lab import processes

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Footprint:
    """One kind of process on one node, summed over its processes. Memory in bytes, CPU in seconds a second."""

    what: str
    rss: int
    pss: int
    cpu: float


def run(ground: Ground, *, seconds: float, settle: float) -> list[Footprint]:
    """Waits `settle` seconds for the work of former suites to end, then watches for `seconds`."""
    lab = ground.cluster
    watched: list[tuple[str, set[int]]] = [(proxy.name, proxy.pids()) for proxy in lab.proxies]
    for node in lab.nodes:
        watched.append((f"agent of {node.name}", processes.pids(node.unit, "agent")))
    for node in lab.nodes:
        version = (node.version() or "?").partition("+")[0]
        watched.append((f"dockerd {version} + containerd of {node.name}", node.daemons()))
    time.sleep(settle)
    before = [cpu(pids) for _, pids in watched]
    begun = time.monotonic()
    time.sleep(seconds)
    spent = time.monotonic() - begun
    return [
        Footprint(what, memory(pids, "Rss"), memory(pids, "Pss"), (cpu(pids) - since) / spent)
        for (what, pids), since in zip(watched, before, strict=True)
    ]


def cpu(pids: Iterable[int]) -> float:
    """Seconds of CPU that these processes have used."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def memory(pids: Iterable[int], what: str) -> int:
    """Bytes: "Rss" or "Pss"."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{what}:"):
                total += int(line.split()[1]) * 1024
    return total
