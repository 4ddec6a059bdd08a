"""What a client asks of a network, and the subnet that it gets: pure.

Subnets without a wish come from a pool (default 10.128.0.0/9 in /24s: away from 172.16/12, which engines give to their
own bridges, and from 192.168/16). Two networks of a cluster never overlap, as on one engine. The choice is made from a
snapshot and guarded by the key of the exact CIDR; a wish that overlaps another wish in the same millisecond is the one
race left, and is harmless: every network has a namespace of its own.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from swarmproxy.lifecycle.body import Tree, go_error, tree
from swarmproxy.model import options
from swarmproxy.model.errors import BadRequest, DockerError, Forbidden, NotFound
from swarmproxy.model.records import DRIVER, OVERLAY, Subnet

DEFAULT_POOL = "10.128.0.0/9"
DEFAULT_SIZE = 24
FIRST_VNI = 0x100000
LAST_VNI = 0xFFFFFF

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_JOINS_HOSTS = ("", "bridge", "overlay", "default")


class ConfigShape(msgspec.Struct):
    Subnet: str | None = None
    IPRange: str | None = None
    Gateway: str | None = None
    AuxiliaryAddresses: dict[str, str] | None = None


class IpamShape(msgspec.Struct):
    Driver: str | None = None
    Options: dict[str, str] | None = None
    Config: list[ConfigShape] | None = None


class ConfigFromShape(msgspec.Struct):
    Network: str | None = None


class Shape(msgspec.Struct):
    Name: str | None = None
    Driver: str | None = None
    Scope: str | None = None
    Ingress: bool | None = None
    ConfigFrom: ConfigFromShape | None = None
    Internal: bool | None = None
    Attachable: bool | None = None
    EnableIPv6: bool | None = None
    IPAM: IpamShape | None = None
    Options: dict[str, str] | None = None
    Labels: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """A parsed create request. `body` keeps every field as it was sent."""

    name: str
    driver: str
    mode: str
    internal: bool
    ipv6: bool
    subnets: tuple[Subnet, ...]
    mtu: int
    labels: dict[str, str] = field(default_factory=dict)
    body: Tree = field(default_factory=dict)


def parse(data: bytes) -> NetworkRequest:
    """Raises BadRequest, Forbidden or NotFound in Docker's words."""
    try:
        body = tree(data)
        shape = msgspec.json.decode(data, type=Shape)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise go_error(error) from None
    name = shape.Name or ""
    if not name.strip():
        raise BadRequest(f"invalid name: {name}")
    if "/" in name:
        raise BadRequest(f'invalid name: "{name}" includes invalid characters')
    if name in (*options.PREDEFINED, "default") or name.startswith("container:"):
        raise Forbidden(f"operation is not permitted on predefined {name} network ")
    driver = shape.Driver or ""
    _refuse(shape, driver)
    wishes = shape.IPAM.Config if shape.IPAM and shape.IPAM.Config else []
    mtu = (shape.Options or {}).get("com.docker.network.driver.mtu", "")
    if mtu and not mtu.isdigit():
        why = f'strconv.Atoi: parsing "{mtu}": invalid syntax'
        raise BadRequest(f"failed to parse com.docker.network.driver.mtu value: {mtu} ({why})")
    return NetworkRequest(
        name=name,
        driver=driver,
        mode=OVERLAY if driver in _JOINS_HOSTS else DRIVER,
        internal=bool(shape.Internal),
        ipv6=bool(shape.EnableIPv6),
        subnets=tuple(_subnet(config) for config in wishes if config.Subnet or config.Gateway or config.IPRange),
        mtu=int(mtu or 0),
        labels=shape.Labels or {},
        body=body,
    )


def _refuse(shape: Shape, driver: str) -> None:
    """What no network of a cluster can be: there is one host and one null, and no swarm."""
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if shape.Ingress:
        raise Forbidden("Ingress network can only be global scope network")
    if shape.Scope == "swarm":
        raise Forbidden("cannot create a swarm scoped network when swarm is not active")
    if shape.ConfigFrom and shape.ConfigFrom.Network:
        raise NotFound(f'configuration network "{shape.ConfigFrom.Network}" does not exist')
    ipam = (shape.IPAM.Driver if shape.IPAM else "") or "default"
    if driver in _JOINS_HOSTS and ipam not in ("default", options.DRIVER):
        raise NotFound(f'plugin "{ipam}" not found')


def _subnet(config: ConfigShape) -> Subnet:
    """A wish, checked. Raises BadRequest in the words of engines since 25.0."""
    text = config.Subnet or ""
    try:
        pool = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise _bad(f"subnet {text}: invalid CIDR block notation") from None
    gateway, ip_range, aux = config.Gateway or "", config.IPRange or "", config.AuxiliaryAddresses or {}
    if gateway:
        _check_address(f"gateway {gateway}", gateway, pool)
    if ip_range:
        try:
            within = _inside(ipaddress.ip_network(ip_range, strict=False), pool)
        except ValueError:
            raise _bad(f"ip-range {ip_range}: invalid CIDR block notation") from None
        if not within:
            raise _bad(f"ip-range {ip_range}: parent subnet {pool} doesn't contain ip-range")
    for name, address in aux.items():
        _check_address(f"auxiliary address {name}", address, pool)
    return Subnet(cidr=str(pool), gateway=gateway or str(pool[1]), ip_range=ip_range, aux=aux)


def _bad(what: str) -> BadRequest:
    return BadRequest(f"invalid network config:\ninvalid {what}")


def _check_address(what: str, text: str, pool: IPNetwork) -> None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise _bad(f"{what}: invalid address") from None
    if address not in pool:
        raise _bad(f"{what}: parent subnet {pool} doesn't contain this address")


def _inside(inner: IPNetwork, outer: IPNetwork) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


def refuse_overlap(wanted: Iterable[Subnet], used: Iterable[str]) -> None:
    """Raises Forbidden when a wish overlaps a subnet that the cluster has already."""
    taken = [ipaddress.ip_network(cidr) for cidr in used]
    for subnet in wanted:
        pool = ipaddress.ip_network(subnet.cidr)
        if any(pool.version == other.version and pool.overlaps(other) for other in taken):
            raise Forbidden("Pool overlaps with other one on this address space")


def choose_subnet(
    used: Iterable[str],
    *,
    avoid: Iterable[str] = (),
    pool: str = DEFAULT_POOL,
    size: int = DEFAULT_SIZE,
    rng: random.Random | None = None,
) -> Subnet:
    """The next free subnet of the pool, from a random start: neighbours in time do not race for one CIDR.

    Args:
        used: CIDRs of the cluster's networks.
        avoid: addresses or CIDRs that hosts use.
        rng: source of the start; a test's own.

    Raises:
        DockerError: the pool is used up (Docker's words).
    """
    space = ipaddress.IPv4Network(pool)
    step = 2 ** (32 - size)
    count = 2 ** (size - space.prefixlen)
    base = int(space.network_address)
    taken: set[int] = set()
    for text in (*used, *avoid):
        other = ipaddress.ip_network(text, strict=False)
        if other.version == 4 and other.overlaps(space):
            first = max(int(other.network_address), base)
            last = min(int(other.broadcast_address), int(space.broadcast_address))
            taken.update(range((first - base) // step, (last - base) // step + 1))
    start = (rng or random).randrange(count)
    for offset in range(count):
        index = (start + offset) % count
        if index not in taken:
            chosen = ipaddress.IPv4Network((base + index * step, size))
            return Subnet(cidr=str(chosen), gateway=str(chosen[1]))
    raise DockerError(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
    )


def choose_vni(used: Iterable[int], rng: random.Random | None = None) -> int:
    """A VNI that no network has, from 0x100000 up: swarm mode and others count from 4096."""
    taken = set(used)
    while True:
        number = (rng or random).randint(FIRST_VNI, LAST_VNI)
        if number not in taken:
            return number
