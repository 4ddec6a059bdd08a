"""What this node must remember across restarts of the agent: `overlay.json` in its state folder.

The engine never repeats CreateNetwork, not even after its own restart, so the specs are ours to keep; and a plugin
call names an endpoint only by its id, so what belongs to that id is kept too. Written whole, renamed into place, and
synced when a network changed: no endpoint outlives a power cut, so its line need not, and a start is not to wait for
the disk. A file of 1,000 endpoints is 300 kB and takes some 2 ms. A file that cannot be read is put aside, not fatal:
reconcile learns endpoints and networks again from the engine and the store.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

__all__ = ["LocalEndpoint", "LocalNetwork", "State"]

FILE = "overlay.json"


class LocalNetwork(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One copy of a cluster network on this engine; the key in the file is the engine's own network id."""

    nid: str
    vni: int
    cidr: str
    gateway: str
    cidr6: str = ""
    gateway6: str = ""
    mtu: int = 1450
    """Bytes inside the overlay."""
    internal: bool = False
    since: float = 0.0
    """Unix seconds."""


class LocalEndpoint(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One endpoint of this engine; the key in the file is its endpoint id."""

    network: str
    """The engine's network id."""
    nid: str
    ip: str
    ip6: str = ""
    mac: str = ""
    token: str = ""
    since: float = 0.0
    """Unix seconds."""
    sandbox: str = ""
    """Path of the container's network namespace, between Join and Leave."""
    route: bool = False
    """This endpoint carries its sandbox's route to the DNS address."""

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(ip for ip in (self.ip, self.ip6) if ip)


class _File(msgspec.Struct, omit_defaults=True):
    networks: dict[str, LocalNetwork] = msgspec.field(default_factory=dict)
    endpoints: dict[str, LocalEndpoint] = msgspec.field(default_factory=dict)


class State:
    """The two tables and their file. Change them, then `save`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self.networks: dict[str, LocalNetwork] = {}
        self.endpoints: dict[str, LocalEndpoint] = {}

    def load(self) -> str:
        """Reads the file; what was wrong with it, or ""."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return ""
        try:
            read = msgspec.json.decode(raw, type=_File)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            aside = self._path.with_suffix(".broken")
            self._path.replace(aside)
            return f"{self._path} cannot be read ({error}); kept as {aside.name}"
        self.networks, self.endpoints = read.networks, read.endpoints
        return ""

    def save(self, *, synced: bool = True) -> None:
        """Raises OSError when the folder cannot be written."""
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(_File(self.networks, self.endpoints)))
            file.flush()
            if synced:
                os.fsync(file.fileno())
        fresh.replace(self._path)

    def copies(self, nid: str) -> list[str]:
        """The engine's ids of one cluster network; usually one."""
        return [key for key, network in self.networks.items() if network.nid == nid]

    def holds(self, nid: str, ip: str) -> bool:
        """An endpoint of this node has the address."""
        return any(each.nid == nid and ip in each.addresses for each in self.endpoints.values())
