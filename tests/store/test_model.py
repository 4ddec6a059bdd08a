"""The memory store against the plainest model there is: a dict, and a list of everything that happened."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from swarmproxy.discovery.memory import MemoryStore
from swarmproxy.discovery.store import Absent, Compacted, Delete, Event, ModIs, NoneNewer, Op, Put

KEYS = st.sampled_from(["a", "a/1", "a/2", "ab", "b/1", "b/é"])
PREFIXES = st.sampled_from(["", "a", "a/", "b/"])
VALUES = st.binary(max_size=2)
OPS = st.lists(
    st.one_of(st.builds(Put, KEYS, VALUES), st.builds(Delete, KEYS)), max_size=4, unique_by=lambda op: op.key
)


class Stores(RuleBasedStateMachine):
    """Every call is run to its end on one loop; the clock moves by hand."""

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.loop = asyncio.new_event_loop()
        self.store = MemoryStore(clock=lambda: self.now, history=6)
        self.revision = 1
        self.data: dict[str, tuple[bytes, int, int, int]] = {}  # value, created, modified, lease
        self.past: list[tuple[int, str, str]] = []
        self.leases: dict[int, float] = {}

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.run(self.store.close())
            self.loop.close()

    def run(self, call: Any) -> Any:
        return self.loop.run_until_complete(call)

    def apply(self, ops: list[Op]) -> None:
        done = [op for op in ops if isinstance(op, Put) or op.key in self.data]
        self.revision += bool(done)
        for op in done:
            if isinstance(op, Put):
                created = self.data[op.key][1] if op.key in self.data else self.revision
                self.data[op.key] = (op.value, created, self.revision, op.lease)
                self.past.append((self.revision, "put", op.key))
            else:
                del self.data[op.key]
                self.past.append((self.revision, "delete", op.key))

    @rule(ops=OPS)
    def write(self, ops: list[Op]) -> None:
        assert self.run(self.store.txn([], ops)).ok
        self.apply(ops)

    @rule(ops=OPS, key=KEYS, back=st.integers(0, 2))
    def write_if_unchanged(self, ops: list[Op], key: str, back: int) -> None:
        modified = self.data[key][2] if key in self.data else 0
        result = self.run(self.store.txn([ModIs(key, modified - back)], ops))
        assert result.ok == (back == 0)
        if result.ok:
            self.apply(ops)

    @rule(ops=OPS, key=KEYS)
    def write_if_absent(self, ops: list[Op], key: str) -> None:
        result = self.run(self.store.txn([Absent(key)], ops))
        assert result.ok == (key not in self.data)
        if result.ok:
            self.apply(ops)

    @rule(ops=OPS, prefix=PREFIXES, back=st.integers(0, 3))
    def write_if_none_newer(self, ops: list[Op], prefix: str, back: int) -> None:
        seen = max(1, self.revision - back)
        newest = max((kv[2] for key, kv in self.data.items() if key.startswith(prefix)), default=0)
        result = self.run(self.store.txn([NoneNewer(prefix, seen)], ops))
        assert result.ok == (newest <= seen)
        if result.ok:
            self.apply(ops)

    @rule(key=KEYS, ttl=st.integers(1, 3))
    def write_with_lease(self, key: str, ttl: int) -> None:
        async def leased() -> int:
            lease = await self.store.grant(ttl)
            await self.store.txn([], [Put(key, b"l", lease)])
            return lease

        lease = self.run(leased())
        self.leases[lease] = self.now + ttl
        self.apply([Put(key, b"l", lease)])

    @rule(seconds=st.integers(1, 2))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        for lease, until in list(self.leases.items()):
            if until <= self.now:
                self.end(lease)
        self.store.expire()

    @rule(pick=st.randoms(use_true_random=False))
    def revoke(self, pick: Any) -> None:
        if self.leases:
            lease = pick.choice(list(self.leases))
            self.end(lease)
            self.run(self.store.revoke(lease))

    def end(self, lease: int) -> None:
        del self.leases[lease]
        self.apply([Delete(key) for key in sorted(self.data) if self.data[key][3] == lease])

    @rule(prefix=PREFIXES, back=st.integers(0, 15))
    def watch(self, prefix: str, back: int) -> None:
        after = max(0, self.revision - back)
        expected = [entry for entry in self.past if entry[0] > after and entry[2].startswith(prefix)]

        async def seen() -> list[Event]:
            stream = self.store.watch(prefix, after)
            events: list[Event] = []
            while len(events) < len(expected):
                events += (await asyncio.wait_for(anext(stream), 1)).events
            await stream.aclose()
            return events

        try:
            events = self.run(seen())
        except Compacted as gone:
            assert back > 6 or after < 1
            assert after < gone.revision <= self.revision
        else:
            assert [(event.kv.mod_revision, event.kind, event.kv.key) for event in events] == expected

    @invariant()
    def holds_the_same(self) -> None:
        revision, found = self.run(self.store.list(""))
        assert revision == self.revision
        assert [(kv.key, (kv.value, kv.create_revision, kv.mod_revision, kv.lease)) for kv in found] == sorted(
            self.data.items()
        )


Stores.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestStores = Stores.TestCase
