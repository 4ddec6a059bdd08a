"""A store in memory and a mirror of it, for tests of what hangs on them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeVar

import pytest

from swarmproxy.discovery.cache import Cache
from swarmproxy.discovery.memory import MemoryStore
from swarmproxy.discovery.store import Put
from swarmproxy.model import keys
from swarmproxy.model.codec import Record, decode, encode
from swarmproxy.model.records import Member, Network, Subnet

R = TypeVar("R", bound=Record)
NID = "a" * 64


@dataclass
class Shared:
    """The store and its mirror."""

    store: MemoryStore
    cache: Cache

    async def put(self, key: str, record: Record) -> None:
        result = await self.store.txn([], [Put(key, encode(record))])
        assert await self.cache.reached(result.revision)

    async def read(self, key: str, kind: type[R]) -> R | None:
        kv = await self.store.get(key)
        return decode(kind, kv.value) if kv is not None else None

    async def seen(self) -> None:
        """The mirror shows what the store holds now."""
        revision, _ = await self.store.list("")
        assert await self.cache.reached(revision)

    async def keys(self, prefix: str = "") -> list[str]:
        return [kv.key for kv in (await self.store.list(prefix))[1]]


@pytest.fixture
async def shared() -> AsyncIterator[Shared]:
    """One network of a /29 (five free addresses) and members n1, n2."""
    store = MemoryStore()
    cache = Cache(store)
    both = Shared(store, cache)
    task = asyncio.create_task(cache.run())
    await cache.ready(3)
    network = Network(id=NID, name="front", vni=4097, subnets=[Subnet(cidr="10.9.0.0/29", gateway="10.9.0.1")])
    await both.put(keys.network(NID), network)
    for number in (1, 2):
        await both.put(keys.node(f"n{number}"), Member(id=f"n{number}", vtep=f"192.0.2.{number}", mtu=1500))
    yield both
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await store.close()
