"""The engine beside us: the few questions an agent has for it.

The engine is the truth about its own endpoints; we ask for its networks (one call a network, which lists their
containers) and never for every container. Calls have 5 s; the event stream has none, its end is told to the reader.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

__all__ = ["ContainerShape", "EndpointSettings", "EngineAway", "EngineEvent", "LocalEngine", "NetworkShape"]

T = TypeVar("T")
_QUICK = aiohttp.ClientTimeout(total=5)
_STREAM = aiohttp.ClientTimeout(total=None, sock_connect=5)


class EngineAway(Exception):
    """No answer, or one that cannot be used; the text says which."""


class _Attachment(msgspec.Struct):
    EndpointID: str = ""
    Name: str = ""


class _IpamConfig(msgspec.Struct):
    Subnet: str = ""
    Gateway: str = ""


class _Ipam(msgspec.Struct):
    Config: list[_IpamConfig] | None = None


class NetworkShape(msgspec.Struct):
    """What we read of a network."""

    Id: str
    Name: str = ""
    Driver: str = ""
    Internal: bool = False
    Options: dict[str, str] | None = None
    IPAM: _Ipam | None = None
    Containers: dict[str, _Attachment] | None = None
    """By container id; "ep-…" = the engine knows no container for it."""


class EndpointSettings(msgspec.Struct):
    """What we read of a container's endpoint."""

    EndpointID: str = ""
    IPAddress: str = ""
    GlobalIPv6Address: str = ""
    MacAddress: str = ""
    Aliases: list[str] | None = None
    DriverOpts: dict[str, str] | None = None


class _NetworkSettings(msgspec.Struct):
    SandboxKey: str = ""
    Networks: dict[str, EndpointSettings] | None = None


class ContainerShape(msgspec.Struct):
    """What we read of a container."""

    Id: str
    Name: str = ""
    NetworkSettings: _NetworkSettings = msgspec.field(default_factory=_NetworkSettings)


class _Actor(msgspec.Struct):
    ID: str = ""
    Attributes: dict[str, str] = msgspec.field(default_factory=dict)


class EngineEvent(msgspec.Struct):
    Type: str = ""
    Action: str = ""
    Actor: _Actor = msgspec.field(default_factory=_Actor)


class _Info(msgspec.Struct):
    ID: str = ""
    Name: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """The engine's own id and the host's name."""

    id: str
    name: str


def connector(url: str) -> tuple[aiohttp.BaseConnector, str]:
    """Raises ValueError for what is neither unix:// nor tcp:// nor http://."""
    scheme, _, rest = url.partition("://")
    if scheme == "unix":
        return aiohttp.UnixConnector(path="/" + rest.lstrip("/")), "http://engine"
    if scheme in ("tcp", "http"):
        return aiohttp.TCPConnector(), f"http://{rest.rstrip('/')}"
    raise ValueError(f"cannot reach an engine by {url!r}: unix:// or tcp:// is needed")


class LocalEngine:
    """Raises ValueError when the address is not one; all calls raise EngineAway."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connector, self._base = connector(url)
        self._session = aiohttp.ClientSession(connector=self._connector, auto_decompress=False)

    async def close(self) -> None:
        await self._session.close()

    async def _call(self, method: str, path: str) -> tuple[int, bytes]:
        try:
            async with self._session.request(method, self._base + path, timeout=_QUICK) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EngineAway(f"{self.url}: {error or type(error).__name__}") from None

    async def identity(self) -> Identity:
        info = _decode(await self._get("/info"), _Info)
        return Identity(info.ID, info.Name)

    async def _get(self, path: str) -> bytes:
        status, body = await self._call("GET", path)
        if status != 200:
            raise EngineAway(f"{self.url}: {path}: {status} {body[:200]!r}")
        return body

    async def networks(self, driver: str) -> list[NetworkShape]:
        """The engine's networks of one driver, each with its containers."""
        filters = quote(json.dumps({"driver": [driver]}))
        listed = _decode(await self._get(f"/networks?filters={filters}"), list[NetworkShape])
        found = []
        for each in listed:
            if (network := await self.network(each.Id)) is not None:
                found.append(network)
        return found

    async def network(self, network_id: str) -> NetworkShape | None:
        status, body = await self._call("GET", f"/networks/{network_id}")
        if status == 404:
            return None
        if status != 200:
            raise EngineAway(f"{self.url}: network {network_id[:12]}: {status} {body[:200]!r}")
        return _decode(body, NetworkShape)

    async def container(self, container_id: str) -> ContainerShape | None:
        status, body = await self._call("GET", f"/containers/{container_id}/json")
        return _decode(body, ContainerShape) if status == 200 else None

    async def remove_network(self, network_id: str) -> bool:
        """It is gone now, or was already."""
        status, _ = await self._call("DELETE", f"/networks/{network_id}")
        return status in (204, 404)

    async def events(self) -> AsyncIterator[EngineEvent]:
        """Events of networks and of renamed containers, from now on; ends by EngineAway.

        The first item is an empty event: from here on nothing is missed.
        """
        filters = quote(json.dumps({"type": ["network", "container"], "event": ["connect", "rename"]}))
        try:
            async with self._session.get(f"{self._base}/events?filters={filters}", timeout=_STREAM) as answer:
                if answer.status != 200:
                    raise EngineAway(f"{self.url}: events: {answer.status}")
                yield EngineEvent()
                async for line in answer.content:
                    yield _decode(line, EngineEvent)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise EngineAway(f"{self.url}: events: {error or type(error).__name__}") from None
        raise EngineAway(f"{self.url}: events ended")


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise EngineAway(f"the engine's answer cannot be read: {error}") from None
