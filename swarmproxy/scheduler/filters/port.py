"""Published ports: a node is out when a requested host port is taken there.

Reads claims, not inspect results: a claim exists before the engine is asked and dies with it, so two proxies
cannot both see the port free. Protocol and host address count; an empty host port is the engine's to choose.
"""

from __future__ import annotations

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.reason import Reason
from swarmproxy.scheduler.request import Request

TAKEN = "port {port}/{protocol} is taken by {holder}"


def check(request: Request, node: NodeSnapshot) -> Reason | None:
    for want in request.ports:
        for holding in node.holders(want):
            if not request.replaces(holding):
                return Reason(TAKEN, port=want.port, protocol=want.protocol, holder=holding.holder)
    return None


def conditions(request: Request) -> tuple[str, ...]:
    if request.host_network:
        return tuple(f"port {port.port}/{port.protocol} (Host mode)" for port in request.ports)
    return tuple(f"port {port.port} (Bridge mode)" for port in request.ports)
