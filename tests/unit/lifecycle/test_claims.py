"""Claims under races: whatever the order in which proxies get through, nothing is held twice and nothing is left.

Several proxies with their own caches work on one store whose answers come in a random order (a seed decides). Some of
them die between take and bind: their session is revoked, as its lease would run out.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from swarmproxy.cluster.records import Records
from swarmproxy.discovery.cache import Cache
from swarmproxy.discovery.memory import MemoryStore
from swarmproxy.discovery.session import Session
from swarmproxy.discovery.store import Compare, Op, TxnResult
from swarmproxy.lifecycle import claims
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model import codec, keys
from swarmproxy.model.errors import Conflict, DockerError
from swarmproxy.model.records import BOUND, Alloc, Name, Port
from swarmproxy.model.snapshot import Holding, NodeSnapshot
from swarmproxy.scheduler import strategies
from swarmproxy.scheduler.place import NoNode, Placement, place
from swarmproxy.scheduler.request import Request

NODES = ("n1", "n2")
MEMORY = 4
PORT = Port(port=80)


class ShuffledStore(MemoryStore):
    """Answers after a random number of turns of the loop, before and after the transaction itself."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        for _ in range(self.rng.randrange(4)):
            await asyncio.sleep(0)
        result = await super().txn(compares, ops)
        for _ in range(self.rng.randrange(4)):
            await asyncio.sleep(0)
        return result


@dataclass
class Want:
    name: str
    memory: int
    port: bool
    ending: str  # keep, drop, die, release


wants = st.lists(
    st.builds(
        Want,
        name=st.sampled_from(["aa", "bb", "cc", "dd", "ee"]),
        memory=st.integers(0, 3),
        port=st.booleans(),
        ending=st.sampled_from(["keep", "keep", "drop", "die", "release"]),
    ),
    min_size=1,
    max_size=12,
)


async def lives(*_: object, **__: object) -> object:
    """An engine that has every container it is asked for."""
    return SimpleNamespace(status=200)


class Proxy:
    def __init__(self, store: MemoryStore) -> None:
        self.cache = Cache(store)
        self.session = Session(store, ttl=60)
        self.records = Records(self.cache)
        engine = SimpleNamespace(call=lives)
        view = SimpleNamespace(nodes={node: SimpleNamespace(name=node, engine=engine, volumes={}) for node in NODES})
        self.cluster = Cluster(
            store=store,
            cache=self.cache,
            session=self.session,
            records=self.records,
            view=cast(Any, view),
            proxy_id="p",
            strategy=strategies.by_name("spread"),
        )
        self.work = [asyncio.create_task(self.cache.run()), asyncio.create_task(self.session.run())]

    async def ready(self) -> None:
        await self.cache.ready(5)
        await self.session.ready(5)

    async def end(self) -> None:
        for task in self.work:
            task.cancel()
        await asyncio.gather(*self.work, return_exceptions=True)

    def snapshots(self) -> list[NodeSnapshot]:
        found = []
        for node in NODES:
            allocs = [held.value for held in self.records.allocs.get(node, {}).values()]
            found.append(
                NodeSnapshot(
                    id=node,
                    name=node,
                    cpu_total=10**10,
                    memory_total=MEMORY,
                    memory_reserved=sum(alloc.memory for alloc in allocs),
                    container_count=len(allocs),
                    ports=tuple(Holding(port=port.port) for alloc in allocs for port in alloc.ports),
                )
            )
        return found


async def nothing(_: NodeSnapshot) -> None:
    return None


async def one(proxy: Proxy, want: Want, token: str, other: Proxy | None = None) -> str:
    """What became of one create: its token when bound, else "". A release goes through another proxy."""
    ports = (PORT,) if want.port else ()
    request = Request(name=want.name, memory=want.memory, ports=ports)
    choose: Callable[[], Placement] = lambda: place(request, proxy.snapshots(), proxy.cluster.strategy)  # noqa: E731
    alloc = Alloc(name=want.name, memory=want.memory, ports=list(ports))
    prepare: Callable[[NodeSnapshot], Awaitable[None]] = nothing
    try:
        claim = await claims.take(proxy.cluster, claims.Wish(token, want.name, alloc), choose, prepare)
        if want.ending == "drop":
            await claims.drop(proxy.cluster, claim)
            return ""
        if want.ending == "die":
            return ""
        await claims.bind(proxy.cluster, claim, "c" + token)
        if want.ending == "release":
            assert await claims.release((other or proxy).cluster, claim.node, token)
            return ""
        return token
    except (Conflict, NoNode):
        return ""


async def race(seed: int, work: list[Want]) -> None:
    rng = random.Random(seed)
    store = ShuffledStore(rng)
    proxies = [Proxy(store) for _ in range(3)]
    doomed = Proxy(store)
    try:
        for proxy in (*proxies, doomed):
            await proxy.ready()
        claims.PENDING_SECONDS = 0.05  # a name that a dead proxy holds is not waited for here
        done = await asyncio.gather(
            *(
                one(doomed if want.ending == "die" else rng.choice(proxies), want, f"t{index}", rng.choice(proxies))
                for index, want in enumerate(work)
            )
        )
        await doomed.session.close()
        await check(store, {token for token in done if token})
    finally:
        for proxy in (*proxies, doomed):
            await proxy.end()


async def check(store: MemoryStore, bound: set[str]) -> None:
    _, allocs = await store.list(keys.ALLOC)
    _, names = await store.list(keys.NAMES)
    held = {keys.parts(kv.key)[2]: (keys.parts(kv.key)[1], codec.decode(Alloc, kv.value)) for kv in allocs}
    assert set(held) == bound, "a claim is left, or one is lost"
    named = {keys.parts(kv.key)[1]: codec.decode(Name, kv.value) for kv in names}
    assert sorted(alloc.name for _, alloc in held.values() if alloc) == sorted(named)
    for node, alloc in held.values():
        assert alloc is not None
        assert alloc.state == BOUND
        assert (owner := named[alloc.name]) is not None
        assert owner.node == node
    for node in NODES:
        here = [alloc for where, alloc in held.values() if where == node and alloc]
        assert sum(alloc.memory for alloc in here) <= MEMORY
        assert sum(len(alloc.ports) for alloc in here) <= 1
    assert not any(kv.lease for kv in (*allocs, *names))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), wants)
def test_races_leave_one_holder_each(seed: int, work: list[Want]) -> None:
    asyncio.run(race(seed, work))


async def test_a_name_whose_container_is_gone_is_taken_over() -> None:
    store = MemoryStore()
    proxy = Proxy(store)
    try:
        await proxy.ready()
        first = await one(proxy, Want("aa", 0, False, "keep"), "t1")
        assert first == "t1"

        async def gone(*_: object, **__: object) -> object:
            return SimpleNamespace(status=404)

        for node in proxy.cluster.view.nodes.values():
            node.engine = cast(Any, SimpleNamespace(call=gone))
        assert await one(proxy, Want("aa", 0, False, "keep"), "t2") == "t2"
        await check(store, {"t2"})
    finally:
        await proxy.end()


async def test_a_name_whose_container_lives_is_a_conflict_in_dockers_words() -> None:
    store = MemoryStore()
    proxy = Proxy(store)
    try:
        await proxy.ready()
        await one(proxy, Want("aa", 0, False, "keep"), "t1")

        alloc = Alloc(name="aa")
        choose = lambda: place(Request(name="aa"), proxy.snapshots(), proxy.cluster.strategy)  # noqa: E731
        try:
            await claims.take(proxy.cluster, claims.Wish("t2", "aa", alloc), choose, nothing)
            raise AssertionError("the name was taken twice")
        except DockerError as error:
            assert error.status == 409
            assert error.message.startswith('Conflict. The container name "/aa" is already in use by container "ct1"')
    finally:
        await proxy.end()


async def test_a_release_by_a_proxy_that_has_not_heard_of_the_claim_frees_it_all_the_same() -> None:
    store = MemoryStore()
    proxy, deaf = Proxy(store), Proxy(store)
    try:
        await proxy.ready()
        await deaf.ready()
        deaf.work[0].cancel()
        await asyncio.wait(deaf.work[:1])
        assert await one(proxy, Want("aa", 1, False, "keep"), "t1") == "t1"
        node = next(keys.parts(kv.key)[1] for kv in (await store.list(keys.ALLOC))[1])
        assert deaf.cache.get(keys.alloc(node, "t1")) is None
        assert await claims.release(deaf.cluster, node, "t1")
        await check(store, set())
    finally:
        await proxy.end()
        await deaf.end()
