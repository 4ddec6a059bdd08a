"""Simulated engines behind a real view: real sockets, the store in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from swarmproxy.cluster import health, monitor, relist
from swarmproxy.cluster.entry import Entry
from swarmproxy.cluster.node import Node
from swarmproxy.cluster.records import Records
from swarmproxy.cluster.view import View
from swarmproxy.discovery.cache import Cache
from swarmproxy.discovery.memory import MemoryStore
from swarmproxy.discovery.store import Delete, Put
from swarmproxy.engine.client import Engine
from swarmproxy.model import keys, options
from swarmproxy.model.codec import encode
from swarmproxy.model.records import Member
from swarmproxy.testing import SimEngine

Tree = dict[str, msgspec.Raw]


def plain_rewrite(item: Tree, node: Node) -> None:
    """Labels of ours go; the node's name comes."""
    labels = msgspec.json.decode(item.get("Labels", b"{}"), type=dict[str, str])
    shown = {key: value for key, value in labels.items() if not key.startswith(options.LABEL_PREFIX)}
    item["Labels"] = msgspec.Raw(msgspec.json.encode(shown | {options.LABEL_NODE: node.name}))


async def until(check: Callable[[], Any], what: str = "", timeout: float = 20.0) -> None:
    """Waits for a condition."""
    end = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < end, f"never came true: {what or check}"
        await asyncio.sleep(0.005)


class Cluster:
    """A store, some engines, one view."""

    def __init__(self, engines: Sequence[SimEngine]) -> None:
        self.engines = engines
        self.store = MemoryStore()
        self.cache = Cache(self.store)
        self.records = Records(self.cache)
        self.view = self.new_view()

    def new_view(self, **options: Any) -> View:
        return View(
            self.records,
            rewrite=plain_rewrite,
            open_engine=lambda name, address: Engine(name, address),
            store=self.store,
            **options,
        )

    async def put(self, key: str, value: Any) -> None:
        result = await self.store.txn([], [Put(key, encode(value))])
        await self.cache.reached(result.revision)

    async def delete(self, key: str) -> None:
        result = await self.store.txn([], [Delete(key)])
        await self.cache.reached(result.revision)

    async def join(self, engine: SimEngine, number: int, name: str | None = None) -> None:
        await self.put(keys.node(f"N{number}"), Member(id=f"N{number}", name=name or engine.name, address=engine.url))

    def listed(self, all: bool = True) -> list[dict[str, Any]]:
        body = b"".join(self.view.chunks(all))
        items: list[dict[str, Any]] = msgspec.json.decode(body)
        return items

    def names(self, all: bool = True) -> list[str]:
        return [item["Names"][0] for item in self.listed(all)]

    def entry(self, ref: str) -> Entry:
        return self.view.container(ref)


@asynccontextmanager
async def impatient() -> AsyncIterator[None]:
    """Pauses before another try are a tenth: tests wait for what comes after them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(health, "EAGER", 0.05)
        patch.setattr(monitor, "AGAIN", 0.1)
        patch.setattr(relist, "AGAIN", 0.2)
        patch.setattr(monitor, "PAUSE", (0.01, 0.03))
        yield


@asynccontextmanager
async def running(*engines: SimEngine) -> AsyncIterator[Cluster]:
    """All engines as members N1, N2 …, all of them listed."""
    cluster = Cluster(engines)
    async with asyncio.TaskGroup() as group, impatient():
        tasks = [group.create_task(cluster.cache.run())]
        await cluster.cache.ready(5)
        for number, engine in enumerate(engines, 1):
            await engine.start()
            await cluster.join(engine, number)
        tasks.append(group.create_task(cluster.view.run()))
        assert await cluster.view.ready(10)
        try:
            yield cluster
        finally:
            for task in reversed(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for engine in engines:
                await engine.stop()


@pytest.fixture
async def two() -> AsyncIterator[Cluster]:
    """Two engines, one of each flavour."""
    one, other = SimEngine(name="node-1", flavour="20.10", seed=1), SimEngine(name="node-2", flavour="26.1", seed=2)
    async with running(one, other) as cluster:
        yield cluster


async def command(node: Node, method: str, path: str, query: str = "", body: Any = None) -> Any:
    """A call behind the view's back, as another client of the engine makes it."""
    answer = await node.engine.call(
        method,
        path,
        query=query,
        body=msgspec.json.encode(body) if body is not None else None,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status < 300 or answer.status == 304, answer
    return msgspec.json.decode(answer.body) if answer.body.strip() else None


async def create(node: Node, name: str, **body: Any) -> str:
    """A created container's id."""
    shape = {"Image": "busybox:latest", "Cmd": ["sleep", "1000"]} | body
    made = await command(node, "POST", "/containers/create", f"name={name}", shape)
    identity: str = made["Id"]
    return identity
