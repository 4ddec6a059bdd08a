"""A whole proxy over simulated engines, one of each flavour: real sockets, the store in memory, no root."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from swarmproxy.api.server import Site
from swarmproxy.discovery.memory import MemoryStore
from swarmproxy.discovery.open import Discovery
from swarmproxy.discovery.store import Op, Put
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model import keys
from swarmproxy.model.codec import encode
from swarmproxy.model.records import Agent, Member
from swarmproxy.proxy import Proxy, ProxyOptions
from swarmproxy.testing import SimEngine
from tests.unit.protocol.pair import Pair, two_proxies


async def until(check: Callable[[], Any], what: str = "", timeout: float = 20.0) -> None:
    """Waits for a condition."""
    end = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < end, f"never came true: {what or check}"
        await asyncio.sleep(0.005)


@dataclass
class Served:
    """A client of the proxy. Members are N1, N2, called node-1, node-2, both with an agent."""

    proxy: Proxy
    store: MemoryStore
    engines: tuple[SimEngine, ...]
    client: aiohttp.ClientSession

    @property
    def cluster(self) -> Cluster:
        return self.proxy.cluster

    async def ask(self, method: str, path: str, body: Any = None, **filters: list[str]) -> tuple[int, Any]:
        """Status and decoded JSON of one call; the body's text where it is none. `label_` stands for `label!`."""
        params = {}
        if filters:
            params["filters"] = json.dumps({key.replace("_", "!"): values for key, values in filters.items()})
        async with self.client.request(
            method, self.proxy.urls[0].replace("tcp", "http") + path, json=body, params=params
        ) as answer:
            text = await answer.text()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    async def create(self, name: str, node: int, **body: Any) -> str:
        """A created container's id."""
        shape = {"Image": "busybox:latest", "Cmd": ["sleep", "1000"], "Env": [f"constraint:node==node-{node}"]} | body
        status, made = await self.ask("POST", f"/containers/create?name={name}", shape)
        assert status == 201, made
        return str(made["Id"])

    async def start(self, name: str, node: int, **body: Any) -> str:
        made = await self.create(name, node, **body)
        assert (await self.ask("POST", f"/containers/{made}/start"))[0] == 204
        return made

    async def put(self, *ops: Op) -> None:
        result = await self.store.txn([], list(ops))
        await self.proxy.cache.reached(result.revision)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
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
    options = ProxyOptions(discovery=None, sites=(Site("127.0.0.1", 0),), state=tmp_path)
    proxy = Proxy(options, Discovery(store, "etcd"))
    running = asyncio.create_task(proxy.run())
    await until(lambda: proxy.urls or running.done(), "the proxy listens")
    proxy.versions.follow(engine.daemon.flavour.api for engine in engines)
    async with aiohttp.ClientSession() as client:
        yield Served(proxy, store, engines, client)
    await proxy.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await store.close()
    for engine in engines:
        await engine.stop()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Two proxies that nothing was asked of yet."""
    async with two_proxies(tmp_path) as made:
        yield made
