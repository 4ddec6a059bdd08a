"""A run as a file: raw samples, what they were compared with, and on what machine; enough to make the table again."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from benchmarks import table
from benchmarks.footprint import Footprint
from benchmarks.table import Suite

FOLDER = Path(__file__).parent / "results"


@dataclass(slots=True)
class Machine:
    """Where it ran. `load` is the one-minute load average, before and after."""

    cpus: int = os.cpu_count() or 0
    kernel: str = platform.release()
    python: str = platform.python_version()
    processor: str = ""
    load: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Results:
    """One run."""

    taken: str
    commit: str
    machine: Machine
    containers: int
    """In the cluster."""
    per_node: int
    engines: list[str]
    idle_seconds: float
    suites: list[Suite] = field(default_factory=list)
    footprints: list[Footprint] = field(default_factory=list)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(replace(self, suites=[_rounded(suite) for suite in self.suites])) + b"\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Raises OSError, msgspec.ValidationError."""
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def text(self) -> str:
        """The table, with what one must know to read it."""
        load = " → ".join(f"{one:.1f}" for one in self.machine.load)
        parts = [
            f"{self.taken}, commit {self.commit}; {self.machine.cpus} × {self.machine.processor}, Linux "
            f"{self.machine.kernel}, Python {self.machine.python}, load {load}; engines {', '.join(self.engines)}; "
            f"{self.containers} containers in the cluster, {self.per_node} a node"
        ]
        if self.suites:
            parts.append(table.timings(self.suites))
        if self.footprints:
            parts.append(table.footprints(self.footprints, self.idle_seconds))
        return "\n\n".join(parts)


def begin(*, containers: int, per_node: int, engines: list[str], idle_seconds: float) -> Results:
    return Results(
        taken=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        commit=_commit(),
        machine=Machine(processor=_processor(), load=[os.getloadavg()[0]]),
        containers=containers,
        per_node=per_node,
        engines=engines,
        idle_seconds=idle_seconds,
    )


def _rounded(suite: Suite) -> Suite:
    """Samples to the microsecond: the clock's own noise would be most of the file."""
    samples = {
        contender: {part: [[round(s, 6) for s in one] for one in rounds] for part, rounds in parts.items()}
        for contender, parts in suite.samples.items()
    }
    return replace(suite, samples=samples)


def _commit() -> str:
    done = subprocess.run(
        ["git", "-C", str(FOLDER.parent), "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
