"""Endpoints that the engine has and our own memory lost: the state file, or the store, or both.

The engine keeps everything that CreateEndpoint was told, driver options included, so state line and record are made
again from one inspect of the container. The devices are still there: losing a file does not cut traffic.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from swarmproxy.model.records import Endpoint
from swarmproxy.overlay.fabric import Fabric, Marks
from swarmproxy.overlay.localengine import EndpointSettings, LocalEngine, NetworkShape
from swarmproxy.overlay.state import LocalEndpoint
from swarmproxy.overlay.vxlan import mac_for

__all__ = ["restore"]

log = logging.getLogger(__name__)


async def restore(
    fabric: Fabric, engine: LocalEngine, shapes: list[NetworkShape], recorded: Collection[tuple[str, str]]
) -> None:
    """Makes good what is missing of this engine's live endpoints.

    Args:
        recorded: (nid, endpoint id) of the records in the store.

    Raises EngineAway, and what `Fabric.remember` raises.
    """
    for shape in shapes:
        network = fabric.state.networks.get(shape.Id)
        for container_id, attached in (shape.Containers or {}).items():
            endpoint_id = attached.EndpointID
            if network is None or container_id.startswith("ep-") or not endpoint_id:
                continue
            known = fabric.state.endpoints.get(endpoint_id)
            if known is not None and ((network.nid, endpoint_id) in recorded or endpoint_id in fabric.making):
                continue
            container = await engine.container(container_id)
            if container is None:
                continue
            all_settings = (container.NetworkSettings.Networks or {}).values()
            settings = next((each for each in all_settings if each.EndpointID == endpoint_id), None)
            if settings is None or not settings.IPAddress:
                continue
            local = known or LocalEndpoint(
                network=shape.Id,
                nid=network.nid,
                ip=settings.IPAddress,
                ip6=settings.GlobalIPv6Address,
                mac=settings.MacAddress.lower() or mac_for(settings.IPAddress),
                token=Marks.read(settings.DriverOpts or {}).token,
                since=time.time(),
                sandbox=container.NetworkSettings.SandboxKey,
            )
            record = _record(fabric.node, local, settings, container.Id, container.Name.lstrip("/"))
            log.warning(
                "endpoint %s of %s was not known here; taken from the engine", endpoint_id[:12], record.names[:1]
            )
            await fabric.remember(endpoint_id, local, record)


def _record(node: str, local: LocalEndpoint, settings: EndpointSettings, container: str, name: str) -> Endpoint:
    marks = Marks.read(settings.DriverOpts or {})
    names = [name, container[:12]]
    aliases = marks.aliases if marks.token else [each for each in settings.Aliases or [] if each not in names]
    return Endpoint(ip=local.ip, ip6=local.ip6, mac=local.mac, node=node, token=local.token, container=container,
                    names=names, aliases=aliases, links=marks.links)  # fmt: skip
