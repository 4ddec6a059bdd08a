"""Swarm mode: refused in the engine's own words. An engine is never asked, so none can become a manager behind us."""

from __future__ import annotations

from typing import NoReturn

from swarmproxy.api.call import Call
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model.errors import DockerError

NOT_A_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)


async def refuse(call: Call[Cluster]) -> NoReturn:
    raise DockerError(NOT_A_MANAGER, status=503)


async def not_part(call: Call[Cluster]) -> NoReturn:
    raise DockerError("This node is not part of a swarm", status=503)


async def no_cluster_volumes(call: Call[Cluster]) -> NoReturn:
    raise DockerError("volume update only valid for cluster volumes, but swarm is unavailable", status=503)
