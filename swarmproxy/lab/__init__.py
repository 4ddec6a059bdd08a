"""Real Docker engines on one machine: the cluster that `make up`, the tests and the benchmarks use.

    with Lab(name="mine") as lab:
        subprocess.run(["docker", "ps"], env={**os.environ, **lab.client_env()})

A node is a set of namespaces with a stock dockerd in it; see `node`. Everything needs root and Linux.
"""

from __future__ import annotations

from swarmproxy.lab.command import LabError
from swarmproxy.lab.lab import Lab
from swarmproxy.lab.node import Node
from swarmproxy.lab.plan import PlanError

__all__ = ["Lab", "LabError", "Node", "PlanError"]
