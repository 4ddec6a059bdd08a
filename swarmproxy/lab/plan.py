"""A lab on paper: names, addresses, folders, and what a node may see. Pure; nothing here touches the machine.

Several labs live side by side on one host, so everything a lab owns outside its folder (network namespaces, the one
link on the host, control groups) carries its name as prefix, and `down` finds it by that prefix alone, state or not.
Interface names are limited to 15 bytes and control group names share a root with the system's: a lab's name is at
most nine letters and digits, without the hyphen that separates it from the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Self

BASE = Path("/var/lib/swarmproxy-lab")
DEFAULT_NAME = "swpl"
FIRST_SUBNET = IPv4Network("10.232.0.0/24")
FIRST_PORTS = (3375, 3376)
ETCD_OCTET, HOST_OCTET = 250, 254
MAX_NODES = 9
ETCD_PORT, ENGINE_PORT = 2379, 2375

_NAME = re.compile(r"[a-z][a-z0-9]{0,8}")
_NODE = re.compile(r"(?:node-|n)?([1-9])")
_PROXY = re.compile(r"(?:proxy-|p)([1-9])")
# Never hidden, however oddly a lab is started: a node is nothing without them.
_SYSTEM = frozenset("bin boot dev etc lib lib32 lib64 libx32 proc run sbin sys usr var".split())


class PlanError(ValueError):
    """A name, subnet, port or node that cannot be."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a verb is about: a node (1 to 9), a proxy, or etcd."""

    kind: str  # node, proxy, etcd
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        if text == "etcd":
            return cls("etcd")
        for kind, pattern in (("node", _NODE), ("proxy", _PROXY)):
            if match := pattern.fullmatch(text):
                return cls(kind, int(match[1]))
        raise PlanError(f"no such node: {text!r} (a node is node-1, n1 or 1; also proxy-1, etcd)")

    @property
    def unit(self) -> str:
        """Its part of namespace and control group names."""
        return {"node": f"n{self.number}", "proxy": f"p{self.number}", "etcd": "etcd"}[self.kind]

    def __str__(self) -> str:
        return self.kind if self.kind == "etcd" else f"{self.kind}-{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything about one lab that follows from what was asked."""

    name: str = DEFAULT_NAME
    subnet: IPv4Network = FIRST_SUBNET
    ports: tuple[int, ...] = FIRST_PORTS
    nodes: int = 3
    cluster: bool = True  # agents and proxies too
    base: Path = field(default=BASE)

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.subnet.prefixlen != 24:
            raise PlanError(f"the lab needs a /24, not {self.subnet}")
        if not 1 <= self.nodes <= MAX_NODES:
            raise PlanError(f"1 to {MAX_NODES} nodes, not {self.nodes}")
        if not self.ports or len(set(self.ports)) != len(self.ports) or not all(0 < p < 65536 for p in self.ports):
            raise PlanError(f"not a list of different ports: {self.ports}")

    @property
    def folder(self) -> Path:
        return self.base / self.name

    @property
    def cache(self) -> Path:
        """Packages and images, shared by all labs of the machine."""
        return self.base / "cache"

    @property
    def switch(self) -> str:
        return f"{self.name}-sw"

    @property
    def host_link(self) -> str:
        return f"{self.name}-host"

    @property
    def host_address(self) -> str:
        return self.address(HOST_OCTET)

    @property
    def etcd_address(self) -> str:
        return self.address(ETCD_OCTET)

    @property
    def etcd_url(self) -> str:
        return f"etcd://{self.etcd_address}:{ETCD_PORT}"

    @property
    def targets(self) -> tuple[Target, ...]:
        """The nodes, in order."""
        return tuple(Target("node", number) for number in range(1, self.nodes + 1))

    def address(self, octet: int) -> str:
        return str(self.subnet.network_address + octet)

    def unit(self, target: Target) -> str:
        """Name of the target's network namespace and control group."""
        return f"{self.name}-{target.unit}"

    def state(self) -> str:
        """What later verbs need to know, as text."""
        said = {"subnet": str(self.subnet), "ports": self.ports, "nodes": self.nodes, "cluster": self.cluster}
        return json.dumps(said, indent=1) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the person or the environment asked for; None: not said."""

    name: str = DEFAULT_NAME
    subnet: IPv4Network | None = None
    ports: tuple[int, ...] | None = None
    nodes: int | None = None
    cluster: bool | None = None


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise PlanError(f"a lab's name is 1 to 9 small letters and digits, a letter first: not {name!r}")
    if name == "cache":
        raise PlanError("'cache' is the folder all labs share")


def parse_subnet(text: str) -> IPv4Network:
    try:
        subnet = IPv4Network(text)
    except ValueError as error:
        raise PlanError(f"not a subnet: {text!r} ({error})") from None
    if subnet.prefixlen != 24:
        raise PlanError(f"the lab needs a /24, not {subnet}")
    return subnet


def parse_ports(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise PlanError(f"not a list of ports: {text!r}") from None


def mac(address: str) -> str:
    """A fixed hardware address: with a new one at each start, neighbours would send to the old one for seconds."""
    return f"02:53:57:50:4c:{int(address.rsplit('.', 1)[1]):02x}"


def parse_state(text: str) -> Mapping[str, Any]:
    """The remembered plan; whatever is not understood (a cut-off file, a foreign one) counts as not said."""
    try:
        raw = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(raw, dict):
        return {}
    known: dict[str, Any] = {}
    try:
        known["subnet"] = parse_subnet(raw["subnet"])
        known["ports"] = tuple(int(port) for port in raw["ports"])
        known["nodes"] = int(raw["nodes"])
        known["cluster"] = bool(raw["cluster"])
    except (KeyError, TypeError, ValueError):
        return {}
    return known


def settle(wish: Wish, *, states: Mapping[str, str], base: Path = BASE) -> Plan:
    """One plan out of the wish, the lab's remembered state and, for what is still open, room beside the other labs.

    Args:
        states: lab name to the text of its state file, for every lab of the machine.

    Raises:
        PlanError: the subnet or a port belongs to another lab.
    """
    check_name(wish.name)
    mine = parse_state(states.get(wish.name, ""))
    others = {name: known for name, text in states.items() if name != wish.name and (known := parse_state(text))}
    subnet = wish.subnet or mine.get("subnet") or _free_subnet(wish.name, others)
    ports = wish.ports or mine.get("ports") or _free_ports(wish.name, others)
    for name, known in others.items():
        if subnet.overlaps(known["subnet"]):
            raise PlanError(f"subnet {subnet} is lab {name!r}'s: choose another with --subnet")
        if taken := sorted(set(ports) & set(known["ports"])):
            raise PlanError(f"port {taken[0]} is lab {name!r}'s: choose others with --ports")
    nodes = wish.nodes or mine.get("nodes") or 3
    cluster = mine.get("cluster", True) if wish.cluster is None else wish.cluster
    return Plan(name=wish.name, subnet=subnet, ports=ports, nodes=nodes, cluster=cluster, base=base)


def _free_subnet(name: str, others: Mapping[str, Mapping[str, Any]]) -> IPv4Network:
    """10.232.0.0/24 is the default lab's own, also while that one is down."""
    if name == DEFAULT_NAME:
        return FIRST_SUBNET
    for second in range(233, 256):
        subnet = IPv4Network(f"10.{second}.0.0/24")
        if not any(subnet.overlaps(known["subnet"]) for known in others.values()):
            return subnet
    raise PlanError("no free subnet: choose one with --subnet")


def _free_ports(name: str, others: Mapping[str, Mapping[str, Any]]) -> tuple[int, ...]:
    if name == DEFAULT_NAME:
        return FIRST_PORTS
    taken = {port for known in others.values() for port in known["ports"]}
    for step in range(10, 10_000, 10):
        ports = tuple(port + step for port in FIRST_PORTS)
        if not taken & set(ports):
            return ports
    raise PlanError("no free ports: choose some with --ports")


@dataclass(frozen=True, slots=True)
class Sight:
    """Folders of the client's machine a node gets an empty one instead of, and what stays visible inside them."""

    hide: tuple[Path, ...]
    keep: tuple[Path, ...]


def sight(*, needed: Iterable[Path], clients: Sequence[Path]) -> Sight:
    """What to hide from a node: a real remote host does not see the client's files either.

    The nodes share the machine's file system, so without this a bind mount of `./html` would work in the lab and
    fail on every real cluster. `clients` are the folders people work in. `needed` (interpreter, environment, package,
    the lab's folder) must stay: what of it lies in a hidden folder is put back at its place; a client's folder inside
    something needed is not hidden.
    """
    must = sorted(set(needed))
    hide: list[Path] = []
    for folder in sorted(set(clients)):
        system = len(folder.parts) < 2 or folder.parts[1] in _SYSTEM
        covered = any(folder.is_relative_to(above) for above in hide)
        if not system and not covered and not any(folder.is_relative_to(path) for path in must):
            hide.append(folder)
    keep: list[Path] = []
    for path in must:
        if any(path.is_relative_to(folder) for folder in hide) and not any(path.is_relative_to(k) for k in keep):
            keep.append(path)
    return Sight(tuple(hide), tuple(keep))
