"""The lab's store: one etcd in a network namespace of its own, reached by nodes and host alike.

Not a machine like the nodes: it needs nothing private but its address, so that it can be stopped, cut off and killed
apart from everything else.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from swarmproxy.lab import network, processes
from swarmproxy.lab.command import LabError, fetch, fetch_json, tail, wait_until
from swarmproxy.lab.plan import ETCD_PORT, Plan, Target

ETCD = Target("etcd")
_PEER = "http://127.0.0.1:2380"


def url(plan: Plan) -> str:
    return f"http://{plan.etcd_address}:{ETCD_PORT}"


def folder(plan: Plan) -> Path:
    return plan.folder / "etcd"


def start(plan: Plan) -> None:
    """An answering etcd; one that runs is kept, one that hangs is woken."""
    unit = plan.unit(ETCD)
    log = folder(plan) / "log"
    processes.thaw(unit)
    processes.send(processes.pids(unit, "etcd"), signal.SIGCONT)
    if not network.plugged(plan, ETCD) or not processes.pids(unit, "etcd"):
        stop(plan)
        network.plug_in(plan, ETCD)
        folder(plan).mkdir(parents=True, exist_ok=True)
        folder(plan).chmod(0o700)
        processes.start(
            arguments(plan),
            unit=unit,
            role="etcd",
            log=log,
            into=["nsenter", f"--net={processes.NETNS / unit}"],
            env={**os.environ, "ETCD_UNSUPPORTED_ARCH": "arm64"},  # 3.4 asks for this there; ignored elsewhere
        )
    try:
        wait_until(lambda: fetch(f"{url(plan)}/health") is not None, seconds=20, what="no answer from etcd",
                   alive=lambda: processes.pids(unit, "etcd"))  # fmt: skip
    except LabError as error:
        raise LabError(f"{error}\n{tail(log)}") from None


def stop(plan: Plan) -> None:
    """SIGKILL; the data stays until `down`."""
    processes.end_unit(plan.unit(ETCD))
    processes.drop_groups(plan.unit(ETCD))


def version(plan: Plan) -> str | None:
    seen = fetch_json(f"{url(plan)}/version")
    return seen.get("etcdserver") if isinstance(seen, dict) else None


def arguments(plan: Plan) -> list[str]:
    return [
        "etcd",
        *("--name", "lab"),
        *("--data-dir", str(folder(plan) / "data")),
        *("--listen-client-urls", f"http://0.0.0.0:{ETCD_PORT}"),
        *("--advertise-client-urls", url(plan)),
        *("--listen-peer-urls", _PEER),
        *("--initial-advertise-peer-urls", _PEER),
        *("--initial-cluster", f"lab={_PEER}"),
    ]
