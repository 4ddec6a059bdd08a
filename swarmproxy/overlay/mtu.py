"""How large a packet an overlay carries: pure.

An overlay's MTU must hold on every path, so it follows the smallest underlay of the cluster. A container that joins
with a larger one would see its full-size packets vanish: VXLAN's outer packet is never fragmented by us.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

OVER_IPV4 = 50
"""Bytes: inner Ethernet 14, VXLAN 8, UDP 8, IPv4 20."""
OVER_IPV6 = 70
LEAST = 576
"""Below this even DNS and IPv4's minimum suffer; a member that says less is taken as a mistake."""
USUAL = 1500


def overhead(vtep: str) -> int:
    """Bytes that VXLAN adds when it leaves from `vtep`; an unreadable address counts as IPv4."""
    try:
        return OVER_IPV6 if ipaddress.ip_address(vtep).version == 6 else OVER_IPV4
    except ValueError:
        return OVER_IPV4


def overlay_mtu(*, asked: int, underlays: Iterable[int], vtep: str) -> int:
    """Bytes inside the overlay.

    Args:
        asked: what the network's record or option says; 0 = nothing.
        underlays: the MTUs of all members, in bytes; 0 = unknown, left out.
        vtep: this node's underlay address.
    """
    if asked >= LEAST:
        return asked
    known = [mtu for mtu in underlays if mtu >= LEAST + overhead(vtep)]
    return min(known, default=USUAL) - overhead(vtep)
