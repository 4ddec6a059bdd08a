"""The network below the overlays: this host's address in it, the interface that carries it, its MTU."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Link", "UnderlayError", "address_of", "find_link"]


class UnderlayError(ValueError):
    """The address or interface given does not fit this host; the text is for people."""


@dataclass(frozen=True, slots=True)
class Link:
    interface: str
    address: str
    mtu: int
    """Bytes."""


def address_of(advertise: str) -> str:
    """The IP address in a member's address (`http://10.0.0.1:2375`); host names are looked up. "" = there is none."""
    host = urlsplit(advertise if "://" in advertise else f"//{advertise}").hostname or ""
    if not host:
        return ""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)[0][4][0])
    except OSError:
        return ""


async def find_link(route: Any, *, vtep: str, interface: str) -> Link:
    """The interface with the address, or the first address of the interface. On the netlink thread.

    Raises UnderlayError when neither leads to an interface of this host.
    """
    links = {link["index"]: (link.get("ifname") or "", link.get("mtu") or 0) async for link in await route.link("dump")}
    addresses = [(item["index"], item.get("address") or "") async for item in await route.addr("dump")]
    for index, ip in addresses:
        name, mtu = links.get(index, ("", 0))
        if (ip == vtep if vtep else not ip.startswith("fe80:")) and interface in ("", name) and name:
            if not vtep and (not interface or name == "lo"):
                continue
            return Link(name, ip, mtu)
    where = f"on {interface}" if interface else "on this host"
    raise UnderlayError(f"no address {vtep} {where}" if vtep else f"no address {where}")
