"""What an engine holds: images, networks, volumes, containers and execs.

Kept small, because benchmarks hold 30,000 containers in one process: `config` and `host` are what the client sent (plus
the image's defaults), never changed in place, so containers of one template share them; the full shape with all its
defaults is made when somebody asks (see `shapes`). The bytes of a list entry are made once per change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

__all__ = ["Container", "Endpoint", "Exec", "Image", "LogLine", "Network", "Volume"]

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """Immutable and shared between engines; tags and digests belong to the engine (`Daemon.tags`)."""

    id: str
    """sha256:… of `document`."""
    document: bytes
    """The image's configuration as save writes it."""
    config: Tree
    layers: tuple[str, ...]
    architecture: str
    created: int
    """Unix seconds."""
    size: int


@dataclass(slots=True, eq=False)
class Endpoint:
    """A container's place on one network; `ip` and `id` are empty while it is not running."""

    network: str
    """Key of NetworkSettings.Networks: a name, or what the client called it until it is resolved."""
    settings: Tree
    """The client's EndpointSettings."""
    network_id: str = ""
    id: str = ""
    ip: str = ""
    prefix: int = 0
    gateway: str = ""
    mac: str = ""
    joined: bool = False
    """It has been on the network at least once: the engine then shows its own aliases."""

    def clear(self) -> None:
        self.id = self.ip = self.gateway = self.mac = ""
        self.prefix = 0


@dataclass(slots=True, eq=False)
class Network:
    id: str
    name: str
    driver: str
    created: int
    body: Tree
    """The create request, keys in canonical case."""
    subnet: IPv4Network | None = None
    gateway: str = ""
    configured: bool = False
    """The client chose the subnet: only then may it choose addresses."""
    taken: dict[int, str] = field(default_factory=dict)
    """Host part → container id."""
    members: dict[str, Endpoint] = field(default_factory=dict)
    """Running containers' endpoints by container id."""


@dataclass(slots=True, eq=False)
class Volume:
    name: str
    created: int
    driver: str = "local"
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    nano: int
    stream: int
    """1 = stdout, 2 = stderr."""
    text: bytes


@dataclass(slots=True, eq=False)
class Exec:
    id: str
    container: str
    body: Tree
    command: list[str]
    running: bool = False
    started: bool = False
    code: int | None = None
    pid: int = 0


@dataclass(slots=True, eq=False)
class Container:
    """Times are Unix nanoseconds, 0 = never."""

    id: str
    name: str
    created: int
    image: str
    """As the client wrote it."""
    image_id: str
    config: Tree
    host: Tree
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    mounts: tuple[Tree, ...] = ()
    status: str = "created"
    """created, running, paused, restarting, exited, dead."""
    exit_code: int = 0
    error: str = ""
    pid: int = 0
    started: int = 0
    finished: int = 0
    restarts: int = 0
    stopped_by_hand: bool = False
    health: str = ""
    sandbox: str = ""
    prepared: int = 0
    """How far a start ever came: 1 = its hosts file was written, 2 = all its files."""
    ports: dict[str, list[dict[str, str]] | None] = field(default_factory=dict)
    """NetworkSettings.Ports while running."""
    execs: tuple[str, ...] = ()
    """Ids not yet finished."""
    log: list[LogLine] | None = None
    waiters: list[Callable[[str, int], None]] | None = None
    """Told ("exit" | "removed", code) by each change."""
    outputs: list[Callable[[int, bytes], None]] | None = None
    """Attached streams: told (stream, bytes), and (0, b"") at the end."""
    stdin: bytes | None = None
    """Sent by a client before the start, not yet read."""
    stdin_ended: bool = False
    head: bytes | None = None
    tail: bytes = b""

    @property
    def running(self) -> bool:
        """Has a process: also when paused or restarting."""
        return self.status in ("running", "paused", "restarting")

    @property
    def labels(self) -> dict[str, str]:
        return self.config.get("Labels") or {}

    @property
    def mode(self) -> str:
        """NetworkMode as sent; "default" when absent."""
        return self.host.get("NetworkMode") or "default"

    def changed(self) -> None:
        """Spoils the prepared list entry."""
        self.head = None
