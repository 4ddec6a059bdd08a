"""The records of the store, one class a kind of key (see `keys`).

Units: CPU in nano-CPUs (10^9 = one core), memory in bytes, times in Unix seconds. Ids of networks are 64 hex digits,
cluster-wide; a container id is the engine's own.
"""

from __future__ import annotations

import msgspec

from swarmproxy.model.codec import Record

PENDING = "pending"
BOUND = "bound"

OVERLAY = "overlay"
"""Network mode: spans hosts; the agent on each node carries it."""
LOCAL = "local"
"""Network mode: lives on one node (`home`), because it was there before or no agent runs."""
DRIVER = "driver"
"""Network mode: one record, made on each node by its own driver (macvlan, ipvlan …); does not join hosts."""


class Meta(Record, frozen=True, omit_defaults=True):
    schema: int = 1
    cluster: str = ""


class Member(Record, frozen=True, omit_defaults=True):
    """A durable node. `engine_id` and `address` are attributes, not identity."""

    id: str = ""
    name: str = ""
    address: str = ""
    """Where proxies reach the engine: http://h:p, https://h:p, unix:///path."""
    engine_id: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    availability: str = "active"
    """active, pause (nothing new) or drain."""
    vtep: str = ""
    """Underlay address of the VXLAN endpoint; empty = no overlay there."""
    mtu: int = 0
    """Underlay MTU in bytes."""
    port: int = 4789
    source: str = ""
    """Who owns the record: "" = its agent, "static" = a nodes:// or file:// list (and leaves with it)."""


class Agent(Record, frozen=True, omit_defaults=True):
    version: str = ""
    started: float = 0.0
    url: str = ""
    resolvers: list[str] = msgspec.field(default_factory=list)
    """The host's own non-loopback DNS servers, listed to containers behind ours."""


class Proxy(Record, frozen=True, omit_defaults=True):
    version: str = ""
    started: float = 0.0
    url: str = ""


class Name(Record, frozen=True, omit_defaults=True):
    token: str = ""
    node: str = ""


class Port(Record, frozen=True, omit_defaults=True):
    """One published port that an engine must bind on the host."""

    port: int = 0
    protocol: str = "tcp"
    ip: str = ""
    """Host address asked for; "" = every address."""


class Alloc(Record, frozen=True, omit_defaults=True):
    """What one container takes of one node. Pending ones hang on the lease of the proxy that makes the container."""

    name: str = ""
    cpu: int = 0
    memory: int = 0
    ports: list[Port] = msgspec.field(default_factory=list)
    state: str = PENDING
    container: str = ""
    unit: str = ""
    """Compose "project/service/number": whom a replacement does not compete with."""
    since: float = 0.0
    adopted: bool = False
    networks: list[str] = msgspec.field(default_factory=list)
    """NIDs of the overlays on which its start will ask for an address."""


class Subnet(Record, frozen=True, omit_defaults=True):
    cidr: str = ""
    gateway: str = ""
    ip_range: str = ""
    aux: dict[str, str] = msgspec.field(default_factory=dict)


class Network(Record, frozen=True, omit_defaults=True):
    id: str = ""
    name: str = ""
    mode: str = OVERLAY
    home: str = ""
    vni: int = 0
    subnets: list[Subnet] = msgspec.field(default_factory=list)
    mtu: int = 0
    """Bytes inside the overlay; 0 = underlay MTU − 50, smallest of all nodes."""
    internal: bool = False
    ipv6: bool = False
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    body: msgspec.Raw = msgspec.Raw(b"{}")
    """The create request as the client sent it: driver, options and IPAM come back from here."""
    created: str = ""
    """RFC 3339, as inspect shows it."""


class NetworkCopy(Record, frozen=True, omit_defaults=True):
    """The copy of a network on one node. An empty id = claimed, the engine has not answered yet."""

    id: str = ""


class Address(Record, frozen=True, omit_defaults=True):
    node: str = ""
    endpoint: str = ""
    token: str = ""
    since: float = 0.0
    ahead: bool = False
    """Held for a start that has not come yet: whoever asks for this very address may have it."""


class Endpoint(Record, frozen=True, omit_defaults=True):
    """One container's place on one overlay: FDB, neighbours and DNS are views of these."""

    ip: str = ""
    ip6: str = ""
    mac: str = ""
    node: str = ""
    token: str = ""
    container: str = ""
    """64-hex container id, when known."""
    names: list[str] = msgspec.field(default_factory=list)
    """Container name first, then its short id."""
    aliases: list[str] = msgspec.field(default_factory=list)
    links: dict[str, str] = msgspec.field(default_factory=dict)
    """alias → target container name; for this endpoint's own questions only."""
    ready: bool = True


class Volume(Record, frozen=True, omit_defaults=True):
    name: str = ""
    driver: str = "local"
    opts: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    owner: str = ""
    """Node that holds the data; "" until the first container uses it."""
    created: str = ""
    adopted: bool = False
    implicit: bool = False
    """Came with a container's create, not by `volume create`: without data there is nothing to remember."""


class ImageRef(Record, frozen=True, omit_defaults=True):
    id: str = ""
    """sha256:… that the reference means in this cluster."""


class Suspect(Record, frozen=True, omit_defaults=True):
    since: float = 0.0


class Duty(Record, frozen=True, omit_defaults=True):
    proxy: str = ""
