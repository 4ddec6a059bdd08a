"""Two whole proxies over two simulated engines and one store in memory: what one leaves half done, the other finds.

Each proxy reaches the store through a `FaultyStore` of its own. `crash` is a kill -9 as the world sees it: from that
instant nothing of the proxy reaches store or engines any more, undo included; its lease ends when `expire` says so.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode

import aiohttp

from swarmproxy.api.server import Site
from swarmproxy.discovery.memory import MemoryStore
from swarmproxy.discovery.open import Discovery
from swarmproxy.discovery.store import Put
from swarmproxy.lifecycle.saga import Failpoints
from swarmproxy.model import keys
from swarmproxy.model.codec import encode
from swarmproxy.model.errors import EngineUnreachable, ServerError
from swarmproxy.model.records import Agent, Member
from swarmproxy.proxy import Proxy, ProxyOptions
from swarmproxy.testing import FaultyStore, SimEngine
from tests.faults.claims import wrong

HELD = ("alloc/", "names/")


async def until(check: Callable[[], Any], what: str = "", seconds: float = 20.0) -> Any:
    """Waits for a condition; its first true value."""
    end = time.monotonic() + seconds
    while not (seen := check()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what or check}"
        await asyncio.sleep(0.005)
    return seen


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any
    """Decoded JSON, or the text where it is none."""

    @property
    def message(self) -> str:
        return str(self.body["message"])


class Crash(Failpoints):
    """Cuts the proxy off at one point, once."""

    def __init__(self, point: str, cut: Callable[[], None]) -> None:
        super().__init__({point: "crash"})
        self.point, self.cut, self.hits = point, cut, 0

    def hit(self, point: str) -> None:
        if point == self.point:
            self.hits += 1
            self.cut()
            raise ServerError("crashed")


class Pair:
    """Members are N1 and N2, called node-1 (20.10) and node-2 (26.1), both with an agent; proxies count from 1."""

    def __init__(self, engines: tuple[SimEngine, ...], store: MemoryStore, client: aiohttp.ClientSession) -> None:
        self.engines = engines
        self.store = store
        self.client = client
        self.stores = [FaultyStore(store), FaultyStore(store)]
        self.proxies: list[Proxy] = []
        self._running: list[asyncio.Task[None]] = []

    async def start(self, state: Path) -> None:
        for store in self.stores:
            options = ProxyOptions(discovery=None, sites=(Site("127.0.0.1", 0),), state=state)
            proxy = Proxy(options, Discovery(store, "etcd"))
            self.proxies.append(proxy)
            self._running.append(asyncio.create_task(proxy.run()))
        for proxy, work in zip(self.proxies, self._running, strict=True):
            await until(lambda proxy=proxy, work=work: proxy.urls or work.done(), "the proxies listen")
            proxy.versions.follow(engine.daemon.flavour.api for engine in self.engines)

    async def stop(self) -> None:
        for store in self.stores:
            store.unavailable = False
        for proxy in self.proxies:
            await proxy.close()
        for work in self._running:
            work.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def ask(self, method: str, path: str, body: Any = None, *, to: int = 1, **query: Any) -> Reply:
        """One call; bytes are sent as they are, anything else as JSON. Filters may be a dict."""
        if isinstance(query.get("filters"), dict):
            query["filters"] = json.dumps(query["filters"])
        url = self.proxies[to - 1].urls[0].replace("tcp", "http") + path + (f"?{urlencode(query)}" if query else "")
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        async with self.client.request(method, url, data=data, headers=headers) as answer:
            text = await answer.text()
        return Reply(answer.status, _decoded(text))

    async def create(self, name: str, *, to: int = 1, **body: Any) -> Reply:
        shape = {"Image": "busybox:latest", "Cmd": ["sleep", "1000"]} | body
        return await self.ask("POST", "/containers/create", shape, to=to, name=name)

    async def behind(self, node: int, method: str, path: str, body: Any = None, **query: Any) -> Reply:
        """Straight to an engine, behind the proxies' back."""
        url = f"{self.engines[node - 1].url}{path}" + (f"?{urlencode(query)}" if query else "")
        async with self.client.request(method, url, json=body) as answer:
            return Reply(answer.status, _decoded(await answer.text()))

    # ------------------------------------------------------------------------------------------ faults

    def crash_at(self, point: str, proxy: int = 1) -> Crash:
        made = Crash(point, lambda: self.crash(proxy))
        self.proxies[proxy - 1].cluster.failpoints = made
        return made

    def fail_at(self, point: str, proxy: int = 1) -> None:
        self.proxies[proxy - 1].cluster.failpoints = Failpoints({point: "error"})

    def crash(self, proxy: int = 1) -> None:
        self.stores[proxy - 1].unavailable = True
        for node in self.proxies[proxy - 1].view.nodes.values():
            node.engine.call = _dead  # type: ignore[method-assign]

    async def expire(self, proxy: int = 1) -> None:
        """The lease of a crashed proxy ends."""
        await self.store.revoke(self.proxies[proxy - 1].session.lease)

    # ------------------------------------------------------------------------------------------ the truth

    async def stored(self, *prefixes: str) -> dict[str, Any]:
        """What the store holds, decoded."""
        found = [kv for prefix in prefixes for kv in (await self.store.list(prefix))[1]]
        return {kv.key: _decoded(kv.value) for kv in found}

    def containers(self) -> dict[str, dict[str, str]]:
        return {
            f"N{number}": {one.id: one.name for one in engine.containers.values()}
            for number, engine in enumerate(self.engines, 1)
        }

    async def wrong(self) -> list[str]:
        return wrong(await self.stored(*HELD), self.containers())

    async def in_order(self, seconds: float = 20.0) -> None:
        """Waits until claims and containers agree."""
        end = time.monotonic() + seconds
        while found := await self.wrong():
            assert time.monotonic() < end, f"still after {seconds:g} s: {found}"
            await asyncio.sleep(0.01)

    async def empty(self, seconds: float = 20.0) -> None:
        """Waits until no container and no claim is left."""
        await self.in_order(seconds)
        assert not any(self.containers().values()), self.containers()
        assert not await self.stored(*HELD)


def _decoded(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text if isinstance(text, str) else text.decode()


async def _dead(*_: Any, **__: Any) -> NoReturn:
    raise EngineUnreachable("this process is dead")


@asynccontextmanager
async def two_proxies(state: Path, fill: Callable[[Pair], Awaitable[None]] | None = None) -> AsyncIterator[Pair]:
    """Args:
    fill: called before the proxies begin.
    """
    engines = tuple(
        SimEngine(name=f"node-{number}", flavour=flavour, seed=number, images=("busybox:latest", "nginx:alpine"))
        for number, flavour in ((1, "20.10"), (2, "26.1"))
    )
    store = MemoryStore()
    for number, engine in enumerate(engines, 1):
        await engine.start()
        node = f"N{number}"
        member = Member(id=node, name=engine.name, address=engine.url)
        await store.txn([], [Put(keys.node(node), encode(member)), Put(keys.agent(node), encode(Agent()))])
    async with aiohttp.ClientSession() as client:
        pair = Pair(engines, store, client)
        try:
            if fill is not None:
                await fill(pair)
            await pair.start(state)
            yield pair
        finally:
            await pair.stop()
    await store.close()
    for engine in engines:
        await engine.stop()
