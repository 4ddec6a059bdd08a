"""The agent, assembled: `swarmproxy join` is this and nothing else.

Beside each engine it registers the host, is the engine's network and IPAM plugin, keeps the overlays' kernel state and
answers DNS. Order matters: kernel state of a former agent is adopted and the plugin socket is there before anything is
asked of the store or the engine, because the engine may be waiting for us with its API closed. Going away leaves
devices and records in place; only the lease is given up.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import swarmproxy
from swarmproxy.discovery.cache import Cache
from swarmproxy.discovery.open import Discovery, open_discovery
from swarmproxy.discovery.session import Session
from swarmproxy.discovery.store import Delete, StoreError, Unavailable
from swarmproxy.dns.service import NameService
from swarmproxy.model import keys, options
from swarmproxy.model.codec import encode
from swarmproxy.model.records import Agent as AgentRecord
from swarmproxy.model.records import Member
from swarmproxy.overlay.attendant import Attendant
from swarmproxy.overlay.fabric import Fabric
from swarmproxy.overlay.follow import follow
from swarmproxy.overlay.guard import Guard
from swarmproxy.overlay.ipam import Ipam
from swarmproxy.overlay.localengine import EngineAway, LocalEngine
from swarmproxy.overlay.member import nameservers, node_id, register
from swarmproxy.overlay.netlink import Netlink
from swarmproxy.overlay.peers import Peers
from swarmproxy.overlay.plugin import Plugin
from swarmproxy.overlay.segments import FOLDER, Segments
from swarmproxy.overlay.state import State
from swarmproxy.overlay.underlay import Link, address_of, find_link
from swarmproxy.overlay.vxlan import Underlay, drop_host_address, host_socket

__all__ = ["Agent", "AgentError", "AgentOptions", "leave", "serve"]

log = logging.getLogger(__name__)

PLUGINS = Path("/run/docker/plugins")
_LEASE = 6.0
"""Seconds after which an agent that says nothing counts as dead."""
_FIRST_LIST = 3.0
"""Seconds that the start waits for the store; after that it goes on without."""


class AgentError(Exception):
    """The agent cannot start; the text is for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentOptions:
    """The verb's options, parsed."""

    discovery: str
    advertise: str
    state: Path
    name: str = ""
    engine: str = "unix:///run/docker.sock"
    insecure: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    vtep: str = ""
    interface: str = ""
    port: int = 4789
    lease: float = _LEASE
    plugins: Path = PLUGINS
    namespaces: Path = FOLDER


class Agent:
    """One node's agent. `start`, then `run` until cancelled, then `close`."""

    def __init__(self, opts: AgentOptions, discovery: Discovery, *, node: str, link: Link, netlink: Netlink) -> None:
        self.options = opts
        self.node = node
        self.link = link
        self.discovery = discovery
        self.netlink = netlink
        self.cache = Cache(discovery.store)
        self.session = Session(discovery.store, ttl=opts.lease)
        self.state = State(opts.state)
        self.guard = Guard(interface=link.interface, port=opts.port)
        self.engine = LocalEngine(opts.engine)
        self.names = NameService(node=node, follow=partial(follow, self.cache),
                                 lost=lambda: self.cache.lost_since is not None)  # fmt: skip
        self.segments = Segments(netlink=netlink, underlay=Underlay(link.address, opts.port),
                                 table=lambda nid: self.peers.table(nid), folder=opts.namespaces)  # fmt: skip
        self.segments.opened = self._opened
        self.segments.closed = self.names.close_network
        self.peers = Peers(mirror=self.cache, node=node, changed=self.segments.changed, members=self.guard.members)
        self.ipam = Ipam(store=discovery.store, mirror=self.cache, node=node, holds=self.state.holds)
        self.fabric = Fabric(node=node, vtep=link.address, store=discovery.store, mirror=self.cache, state=self.state,
                             segments=self.segments, peers=self.peers, ipam=self.ipam, netlink=netlink)  # fmt: skip
        self.plugin = Plugin(fabric=self.fabric, ipam=self.ipam, folder=opts.plugins)
        self.attendant = Attendant(node=node, store=discovery.store, cache=self.cache, engine=self.engine,
                                   fabric=self.fabric, connected=self._register)  # fmt: skip
        self._registered = False

    async def _opened(self, nid: str, segment: Any) -> None:
        await self.names.open_network(nid, lambda address, kind: self.netlink.run(segment.listen(address, kind)))

    async def start(self) -> None:
        """Adopts what is there and opens the plugin socket. Raises OSError when the socket cannot be made."""
        if problem := self.state.load():
            log.error("%s", problem)
        for network_id, spec in self.state.networks.items():
            try:
                await self.segments.ensure(spec)
            except Exception as error:
                log.error("overlay %s (network %s) not adopted: %s", spec.nid[:12], network_id[:12], error)
        await self.plugin.start()
        await self.names.open_host(
            lambda address, kind: self.netlink.run(host_socket(self.netlink.host, address, kind))
        )
        log.info("node %s (%s) serves %s; VXLAN from %s on %s", self.node, self.options.name or "unnamed",
                 self.plugin.path, self.link.address, self.link.interface)  # fmt: skip

    async def run(self) -> None:
        """Everything that lives on; ends by cancellation, or by the first failure of a part that must not fail."""
        async with asyncio.TaskGroup() as group:
            for work in (self.discovery.run(), self.cache.run(), self.names.run(), self._joined(group)):
                group.create_task(work)

    async def _joined(self, group: asyncio.TaskGroup) -> None:
        try:
            await self.cache.ready(_FIRST_LIST)
        except Unavailable as error:
            log.warning("the store does not answer; going on without: %s", error)
            while self.cache.revision == 0:
                with suppress(Unavailable):
                    await self.cache.ready(60)
        self.names.ready = True
        for nid in self.segments.carried:
            changed = await self.segments.resync(nid)
            log.info("overlay %s adopted, %d forwarding entries changed", nid[:12], changed)
        record = AgentRecord(version=swarmproxy.__version__, started=time.time(), resolvers=nameservers())
        await self.session.register(keys.agent(self.node), encode(record))
        self.session.on_renewed.append(lambda: self._again(group))
        group.create_task(self.session.run())
        await self._register()
        group.create_task(self.attendant.run())

    def _again(self, group: asyncio.TaskGroup) -> None:
        """The lease was lost: the store may be another one."""
        self._registered = False
        group.create_task(self._register())

    async def _register(self) -> None:
        """This node's record; created once a start, amended at every new sight of the engine."""
        engine_id, name = await self.attendant.identity()
        member = Member(
            id=self.node, name=self.options.name or name, address=self.options.advertise, engine_id=engine_id,
            labels=self.options.labels, vtep=self.link.address, mtu=self.link.mtu, port=self.options.port,
        )  # fmt: skip
        try:
            await register(self.discovery.store, member, create=not self._registered)
            self._registered = True
        except Unavailable as error:
            log.warning("not registered: %s", error)

    async def close(self) -> None:
        """Sockets close; devices and records stay; the lease is given up."""
        await self.plugin.stop()
        await self.fabric.close()
        self.ipam.close()
        self.names.close()
        await self.guard.close()
        await self.segments.close()
        await self.session.close()
        await self.engine.close()


@asynccontextmanager
async def started(opts: AgentOptions) -> AsyncIterator[Agent]:
    """A started agent, closed at the end. Raises AgentError."""
    async with AsyncExitStack() as stack:
        lock = _only_one(opts.state)
        stack.callback(os.close, lock)
        netlink = Netlink()
        try:
            node = node_id(opts.state)
            await netlink.start()
            stack.push_async_callback(netlink.close)
            vtep = opts.vtep or ("" if opts.interface else await asyncio.to_thread(address_of, opts.advertise))
            link = await netlink.run(find_link(netlink.host, vtep=vtep, interface=opts.interface))
            discovery = await open_discovery(opts.discovery, state=opts.state, insecure=opts.insecure)
        except (OSError, ValueError, StoreError) as error:
            raise AgentError(str(error)) from error
        stack.push_async_callback(discovery.close)
        if not discovery.shared:
            raise AgentError("join needs a store that proxies and agents share: etcd://HOST[,HOST…]")
        agent = Agent(opts, discovery, node=node, link=link, netlink=netlink)
        stack.push_async_callback(agent.close)
        try:
            await agent.start()
        except OSError as error:
            raise AgentError(str(error)) from error
        yield agent


def _only_one(folder: Path) -> int:
    """Holds the state folder for this process. Raises AgentError when another agent has it."""
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise AgentError(f"another agent runs on {folder}") from None
    return fd


async def serve(opts: AgentOptions) -> None:
    """Runs until SIGTERM or SIGINT. Raises AgentError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with started(opts) as agent:
        await _until(stop, agent.run())


async def leave(opts: AgentOptions) -> None:
    """Takes this node out of the cluster: its networks on the engine, its rules, its records. Raises AgentError.

    The agent must run for it, because the engine calls its plugin to remove a network.
    """
    async with started(opts) as agent:
        running = asyncio.create_task(agent.run())
        try:
            await agent.cache.ready(_FIRST_LIST)
            shapes = await agent.engine.networks(options.DRIVER)
            if used := [shape.Name for shape in shapes if shape.Containers]:
                raise AgentError(f"containers are still connected to {', '.join(used)}")
            for shape in shapes:
                if not await agent.engine.remove_network(shape.Id):
                    raise AgentError(f"the engine does not remove its network {shape.Name}")
        except (EngineAway, StoreError) as error:
            raise AgentError(str(error)) from error
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await agent.guard.remove()
        await agent.netlink.run(drop_host_address(agent.netlink.host, options.DNS_ADDRESS))
        copies = [kv.key for kv in agent.cache.under(keys.NETNODES) if keys.parts(kv.key)[2] == agent.node]
        for key in (*copies, keys.agent(agent.node), keys.node(agent.node)):
            await agent.discovery.store.txn([], [Delete(key)])


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` until `stop` is set; its own failure is raised."""
    running, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not running.done():
        running.cancel()
    await asyncio.gather(running, return_exceptions=stop.is_set())
