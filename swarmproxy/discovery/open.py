"""From a discovery URL to a store.

    etcd://h1,h2:2379,h3/prefix                       shared by any number of proxies; plain text, loopback only …
    etcds://h1,h2,h3/prefix?ca=…&cert=…&key=…         … or with TLS; PEM files, all optional
    nodes://h1:2375,10.0.0.[1:20]:2375                a fixed list (also without "nodes://")
    file:///etc/swarmproxy/nodes                      a list that may change
    nothing                                           the engine of this machine, a cluster of one

The last three keep their records in an SQLite file in the state folder, which one proxy may own. "Nothing" is always
the local socket: $DOCKER_HOST is where clients look for a cluster, very likely this proxy itself.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote

from swarmproxy.discovery.sqlite import SqliteStore
from swarmproxy.discovery.static import MemberFile, read_entries, sync
from swarmproxy.discovery.store import Store, StoreError
from swarmproxy.model import codec, keys
from swarmproxy.model.records import Member

__all__ = ["DATABASE", "LOCAL", "Discovery", "DiscoveryError", "Kind", "members", "open_discovery"]

LOCAL = "unix:///var/run/docker.sock"
DATABASE = "store.db"
"""The embedded store's file in the state folder."""

_HOST = re.compile(r"\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]@]+")

Kind = Literal["etcd", "static", "file", "embedded"]


class DiscoveryError(StoreError):
    """The URL cannot be used; the text says why."""


class Discovery:
    """An open store, and who keeps the members in it.

    Attributes:
        shared: whether several proxies may use it at once.
    """

    def __init__(self, store: Store, kind: Kind, keep: Callable[[Store], Awaitable[None]] | None = None) -> None:
        self.store = store
        self.kind = kind
        self.shared = kind == "etcd"
        self._keep = keep

    async def run(self) -> None:
        """Keeps the members of a changing list in the store. Ends by cancellation only."""
        if self._keep is not None:
            await self._keep(self.store)
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        await self.store.close()


async def open_discovery(url: str | None, *, state: Path, insecure: bool = False, scheme: str = "http") -> Discovery:
    """Opens the store; members of a list are in it when this returns. An etcd that is away is no error here.

    Args:
        state: folder of an embedded store.
        insecure: allows plain text to an etcd beyond this machine.
        scheme: of listed engines that come without one.

    Raises:
        DiscoveryError: the URL, or a file it names, cannot be used.
        StoreError: the embedded store is owned by another process.
    """
    kind, rest = _split(url)
    if kind == "etcd":
        return Discovery(_etcd(url or "", insecure), kind)
    file = MemberFile(Path(rest), scheme=scheme) if kind == "file" else None
    listed = _listed(kind, rest, scheme, file)
    store = SqliteStore(state / DATABASE)
    try:
        await sync(store, listed)
    except BaseException:
        await store.close()
        raise
    return Discovery(store, kind, file.run if file is not None else None)


async def members(url: str | None, *, insecure: bool = False, scheme: str = "http") -> list[Member]:
    """Who is in a cluster, for people who ask from outside: lists are read, no embedded store is touched.

    Raises:
        StoreError: the store is away, or the URL cannot be used.
    """
    kind, rest = _split(url)
    if kind != "etcd":
        return _listed(kind, rest, scheme, MemberFile(Path(rest), scheme=scheme) if kind == "file" else None)
    store = _etcd(url or "", insecure)
    try:
        _, found = await store.list(keys.NODES)
    finally:
        await store.close()
    return [member for kv in found if (member := codec.decode(Member, kv.value)) is not None]


def _split(url: str | None) -> tuple[Kind, str]:
    if not url:
        return "embedded", LOCAL
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "static", url
    match scheme:
        case "etcd" | "etcds":
            return "etcd", rest
        case "nodes":
            return "static", rest
        case "file":
            return "file", unquote(rest)
        case "consul" | "zk" | "token":
            raise DiscoveryError(f"{scheme}:// is not supported; use etcd://, nodes:// or file://")
    raise DiscoveryError(f"{url}: not a discovery URL; use etcd://, etcds://, nodes:// or file://")


def _listed(kind: Kind, rest: str, scheme: str, file: MemberFile | None) -> list[Member]:
    try:
        found = file.read() if file is not None else read_entries(rest.split(","), scheme=scheme)
    except OSError as error:
        raise DiscoveryError(f"{rest}: {error.strerror}") from error
    except ValueError as error:
        raise DiscoveryError(str(error)) from error
    if kind == "static" and not found:
        raise DiscoveryError("nodes:// names no member")
    return found


def _etcd(url: str, insecure: bool) -> Store:
    try:
        from swarmproxy.discovery.etcd import EtcdStore, credentials  # heavy, and only needed here
    except ImportError as error:
        raise DiscoveryError(f"etcd:// cannot be used: {error}") from error

    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    hosts, _, prefix = rest.partition("/")
    endpoints = [_endpoint(host) for host in hosts.split(",") if host]
    options = dict(parse_qsl(query, keep_blank_values=True))
    if not endpoints:
        raise DiscoveryError(f"{url}: no host")
    if unknown := sorted(options.keys() - {"ca", "cert", "key"}):
        raise DiscoveryError(f"{url}: unknown option {unknown[0]}")
    prefix = unquote(prefix).strip("/")
    root = f"/{prefix}{keys.ROOT}" if prefix else keys.ROOT
    if scheme == "etcds":
        if ("cert" in options) != ("key" in options):
            raise DiscoveryError(f"{url}: cert and key belong together")
        tls = credentials(**{name: _pem(path) for name, path in options.items()})
        return EtcdStore(endpoints, root=root, tls=tls)
    if options:
        raise DiscoveryError(f"{url}: certificates need etcds://")
    for endpoint in endpoints:
        if not insecure and not _loopback(endpoint):
            raise DiscoveryError(
                f"etcd://{endpoint} is plain text beyond this machine: whoever is on the network reads and changes the "
                "cluster's records. Use etcds://, or say --insecure"
            )
    return EtcdStore(endpoints, root=root)


def _endpoint(text: str) -> str:
    host, port = text, "2379"
    if text.count(":") == 1 or "]:" in text:
        host, _, port = text.rpartition(":")
    if not _HOST.fullmatch(host) or not (port.isdigit() and 0 < int(port) < 65536):
        raise DiscoveryError(f"etcd: {text} is not host:port")
    return f"{host}:{port}"


def _loopback(endpoint: str) -> bool:
    host = endpoint.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _pem(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DiscoveryError(f"{path}: {error.strerror}") from error
