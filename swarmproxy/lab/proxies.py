"""The lab's proxies: `swarmproxy manage` on the host, where a user's would run, each in its own control group."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmproxy.lab import processes
from swarmproxy.lab.command import LabError, fetch, fetch_json, tail, wait_until
from swarmproxy.lab.node import python, python_environment
from swarmproxy.lab.plan import Plan, Target

_START_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy of a lab, up or not."""

    plan: Plan
    number: int

    @property
    def target(self) -> Target:
        return Target("proxy", self.number)

    @property
    def name(self) -> str:
        return str(self.target)

    @property
    def unit(self) -> str:
        return self.plan.unit(self.target)

    @property
    def port(self) -> int:
        if not 1 <= self.number <= len(self.plan.ports):
            raise LabError(f"no {self.name}: the lab has ports for {len(self.plan.ports)}")
        return self.plan.ports[self.number - 1]

    @property
    def url(self) -> str:
        """For DOCKER_HOST."""
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.plan.folder / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        """For people; the lab itself goes by the control group."""
        return self.plan.folder / f"{self.name}.pid"

    def pids(self) -> set[int]:
        return processes.pids(self.unit, "proxy")

    def start(self, extra: Sequence[str] = (), *, discovery: str | None, env: Mapping[str, str] | None = None) -> None:
        """A proxy that answers; one that runs is kept, one that hangs is woken."""
        processes.thaw(self.unit)
        processes.send(self.pids(), signal.SIGCONT)
        if not self.pids():
            self.plan.folder.mkdir(parents=True, exist_ok=True)
            arguments = ["manage", "-H", self.url, "--insecure", "--state", str(self.plan.folder / self.name), *extra]
            command = python("swarmproxy", *arguments, *([discovery] if discovery else []))
            environment = {**python_environment(), **(env or {})}
            processes.start(command, unit=self.unit, role="proxy", log=self.log, env=environment)
        try:
            wait_until(lambda: fetch(f"{self.http_url}/_ping") is not None, seconds=_START_SECONDS,
                       what=f"{self.name}: no answer", alive=self.pids)  # fmt: skip
        except LabError as error:
            raise LabError(f"{error}\n{tail(self.log, 12)}") from None
        self.pid_file.write_text("".join(f"{pid}\n" for pid in sorted(self.pids())))

    def kill(self) -> None:
        processes.end_unit(self.unit)
        processes.drop_groups(self.unit)
        self.pid_file.unlink(missing_ok=True)

    def await_nodes(self, count: int, *, seconds: float = 30) -> None:
        """Until it knows that many nodes and all of them are healthy."""
        wait_until(lambda: nodes_in(self.info()) >= count, seconds=seconds, alive=self.pids,
                   what=f"{self.name} does not know all {count} nodes")  # fmt: skip

    def info(self) -> Any:
        return fetch_json(f"{self.http_url}/info", timeout=5)


def nodes_in(info: Any) -> int:
    """How many nodes an answer to /info says are healthy: classic Swarm's "Nodes" and "Status" lines."""
    if not isinstance(info, dict):
        return 0
    rows = [row for key in ("SystemStatus", "DriverStatus") for row in info.get(key) or () if len(row) == 2]
    said = next((int(value) for label, value in rows if label.strip() == "Nodes" and value.strip().isdigit()), 0)
    sick = sum(1 for label, value in rows if label.strip(" └") == "Status" and value.strip().lower() != "healthy")
    return max(said - sick, 0)
