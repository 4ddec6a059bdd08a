"""The proxy, assembled: `swarmproxy manage` is this and nothing else.

Store → cache → records → view → sagas → API, each built once and handed down. The store may be away when we start:
what needs no cluster (_ping) is answered, everything else says 503 and why until the first list of the store is in.
Stopping: no new connections, requests under way get their grace, sagas end, then the lease is given up.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from aiohttp import web

import swarmproxy
from swarmproxy.api import containers, replies, rewrite
from swarmproxy.api.dispatch import Dispatcher
from swarmproxy.api.route import Serve
from swarmproxy.api.server import Listener, Site, raise_file_limit
from swarmproxy.api.table import ROUTES
from swarmproxy.api.versions import Versions
from swarmproxy.cluster.node import Node
from swarmproxy.cluster.records import Records
from swarmproxy.cluster.view import View
from swarmproxy.discovery.cache import Cache
from swarmproxy.discovery.open import Discovery, open_discovery
from swarmproxy.discovery.session import Session
from swarmproxy.discovery.store import Absent, Put, StoreError, Unavailable
from swarmproxy.engine.address import Address
from swarmproxy.engine.client import Engine
from swarmproxy.lifecycle.adopt import Adoption
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.lifecycle.gc import Collector
from swarmproxy.lifecycle.netspec import DEFAULT_POOL
from swarmproxy.lifecycle.objects import Objects
from swarmproxy.lifecycle.saga import Failpoints
from swarmproxy.model import codec, keys
from swarmproxy.model.records import Meta
from swarmproxy.model.records import Proxy as ProxyRecord
from swarmproxy.scheduler import filters, strategies
from swarmproxy.security.tls import Contexts

log = logging.getLogger(__name__)

LEASE = 6.0
FIRST_STORE = 3.0
FIRST_VIEW = 10.0
GRACE = 5.0
WITHOUT_A_CLUSTER = ("_ping", "version")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyOptions:
    """The verb's options, parsed."""

    discovery: str | None
    sites: tuple[Site, ...]
    state: Path
    strategy: str = "spread"
    filters: tuple[str, ...] = ()
    insecure: bool = False
    node_names: bool = False
    pool: str = DEFAULT_POOL
    tls: Contexts = field(default_factory=Contexts)


class Proxy:
    """One proxy. `start`, then `run` until cancelled, then `close`."""

    def __init__(self, opts: ProxyOptions, discovery: Discovery) -> None:
        self.options = opts
        self.discovery = discovery
        self.id = secrets.token_hex(6)
        self.cache = Cache(discovery.store)
        self.session = Session(discovery.store, ttl=LEASE)
        self.records = Records(self.cache)
        self.view = View(
            self.records,
            rewrite=_rewrite,
            open_engine=lambda name, address: Engine(name, address, tls=opts.tls.client),
            store=discovery.store,
            node_names=opts.node_names,
        )
        self.cluster = Cluster(
            store=discovery.store,
            cache=self.cache,
            session=self.session,
            records=self.records,
            view=self.view,
            proxy_id=self.id,
            strategy=strategies.by_name(opts.strategy),
            strategy_name=opts.strategy,
            filters=filters.by_name(opts.filters),
            failpoints=Failpoints.from_environment(),
            shared=discovery.shared,
            pool=opts.pool,
            started=time.time(),
        )
        self.versions = Versions()
        self.view.on_node(self._follow_versions)
        self.dispatcher = Dispatcher(
            ROUTES,
            cluster=self.cluster,
            versions=self.versions,
            resolve_owner=containers.owner,
            resolve={Serve.EXEC: containers.exec_owner},
            after=containers.refresh_after,
        )
        self.listener = Listener(self.handle)
        self.urls: list[str] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The front door: nothing is claimed about a cluster of which nothing is known yet."""
        if self.cache.revision == 0 and request.raw_path.rsplit("/", 1)[-1] not in WITHOUT_A_CLUSTER:
            reason = self.cache.reason or "it has not answered yet"
            return replies.error(
                503, f"cluster store unavailable: {reason}", replies.identity(self.versions.advertised)
            )
        return await self.dispatcher.handle(request)

    async def run(self) -> None:
        """Everything that lives on; ends by cancellation, or by the first failure of a part that must not fail."""
        async with asyncio.TaskGroup() as group:
            for work in (
                self.discovery.run(),
                self.cache.run(),
                self.session.run(),
                self.view.run(),
                self._listen(),
                Adoption(self.cluster).run(),
                Objects(self.cluster).run(),
                Collector(self.cluster).run(),
            ):
                group.create_task(work)

    async def _listen(self) -> None:
        """Opens the sites once there is something to show, or when waiting has been long enough."""
        with suppress(Unavailable):
            await self.cache.ready(FIRST_STORE)
        if self.cache.revision:
            await self.view.ready(FIRST_VIEW)
        for site in self.options.sites:
            self.urls.append(await self.listener.open(site, tls=self.options.tls.server))
        log.info(
            "proxy %s of %s serves %s", self.id, self.options.discovery or "the local engine", ", ".join(self.urls)
        )
        if self.cache.revision == 0:
            log.warning("the store does not answer, so requests are refused: %s", self.cache.reason)
        await self._register()

    async def _register(self) -> None:
        record = ProxyRecord(version=swarmproxy.__version__, started=self.cluster.started, url=",".join(self.urls))
        await self.session.register(keys.proxy(self.id), codec.encode(record))
        while self.cache.get(keys.META) is None:
            meta = codec.encode(Meta(cluster=secrets.token_hex(16)))
            with suppress(StoreError):
                await self.discovery.store.txn([Absent(keys.META)], [Put(keys.META, meta)])
            await asyncio.sleep(0.5)

    def _follow_versions(self, _: Node) -> None:
        """Advertises what all members have; clients shape their requests after it."""
        self.versions.follow(node.engine.api for node in self.view.nodes.values())

    async def close(self) -> None:
        await self.listener.close(GRACE)
        await self.dispatcher.settle(GRACE)
        await self.cluster.close()
        await self.session.close()


def _rewrite(item: dict[str, msgspec.Raw], node: Node) -> None:
    rewrite.list_item(item, containers.place(node))


async def serve(opts: ProxyOptions) -> None:
    """Runs a proxy until SIGTERM or SIGINT.

    Raises:
        StoreError: the discovery URL cannot be used. ValueError: an engine beyond this host in plain text.
    """
    raise_file_limit()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    scheme = "https" if opts.tls.client else "http"
    discovery = await open_discovery(opts.discovery, state=opts.state, insecure=opts.insecure, scheme=scheme)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(discovery.close)
        if discovery.kind != "etcd" and not opts.insecure:
            await refuse_plain(discovery)
        proxy = Proxy(opts, discovery)
        stack.push_async_callback(proxy.close)
        work = asyncio.create_task(proxy.run())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not work.done():
            await proxy.close()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        else:
            await work


async def refuse_plain(discovery: Discovery) -> None:
    """A list may name engines that would be called in plain text over a network; that is asked for by --insecure."""
    _, found = await discovery.store.list(keys.NODES)
    for kv in found:
        member = msgspec.json.decode(kv.value)
        address = Address.parse(str(member.get("address", "")))
        if address.scheme == "http" and not Site(host=address.host).local:
            raise ValueError(f"{address.text} is reached in plain text; say --insecure to allow it")
