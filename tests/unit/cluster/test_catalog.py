"""Every index agrees with every other, whatever comes, changes and goes."""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from swarmproxy.cluster.catalog import Catalog, Change
from swarmproxy.cluster.entry import Entry
from swarmproxy.model.errors import NotFound
from tests.unit.cluster.shapes import as_it_is, item, node

NODES = {"N1": node("N1", "one"), "N2": node("N2", "two")}
ids = st.integers(0, 5)
nodes = st.sampled_from(("N1", "N2"))
names = st.sampled_from(("web", "db", ""))
states = st.sampled_from(("created", "running", "paused", "exited"))


def wide(number: int) -> str:
    return f"{number:x}" * 64


class Everything(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        for one in NODES.values():
            one.containers.clear()
        self.claims: dict[str, tuple[str, str, str]] = {}
        self.catalog = Catalog(rewrite=as_it_is, claimed=self.claims.get)
        self.seen: dict[tuple[str, str], Entry] = {}
        self.catalog.listen(self.hear)

    def hear(self, change: Change) -> None:
        key = (change.entry.node.id, change.entry.id)
        if change.kind == "gone":
            del self.seen[key]
        else:
            assert (change.kind == "appeared") == (key not in self.seen)
            self.seen[key] = change.entry

    @rule(number=ids, where=nodes, name=names, state=states, created=st.integers(1, 2), text=st.integers(2, 4))
    def shown(self, number: int, where: str, name: str, state: str, created: int, text: int) -> None:
        if name and any(one.name == name and one.id != wide(number) for one in NODES[where].containers.values()):
            return  # an engine's names are unique
        status = f"Up {text} minutes" if state in ("running", "paused") else "Created"
        names_ = [f"/{name}"] if name else []
        raw = item(wide(number), Names=names_, State=state, Created=created, Status=status)
        entry = self.catalog.take(NODES[where], raw, 1e6, 1e6, number % 2)
        assert (entry.state, entry.name, entry.node.id) == (state, name, where)

    @rule(number=ids, where=nodes)
    def dropped(self, number: int, where: str) -> None:
        entry = self.catalog.drop(NODES[where], wide(number))
        assert entry is None or entry.id == wide(number)

    @rule(number=ids, where=nodes, nanoseconds=st.integers(0, 3))
    def ordered(self, number: int, where: str, nanoseconds: int) -> None:
        entry = NODES[where].containers.get(wide(number))
        if entry is not None:
            self.catalog.order(entry, nanoseconds)

    @rule(name=st.sampled_from(("web", "db")), number=ids, where=nodes, gone=st.booleans())
    def claimed(self, name: str, number: int, where: str, gone: bool) -> None:
        if gone:
            self.claims.pop(name, None)
        else:
            self.claims[name] = (where, "T", wide(number))
        self.catalog.rename(name)

    @rule(where=nodes)
    def rebuilt(self, where: str) -> None:
        self.catalog.rebuild(NODES[where])

    def all(self) -> list[Entry]:
        return [entry for one in NODES.values() for entry in one.containers.values()]

    @invariant()
    def sequences_are_whole_and_sorted(self) -> None:
        entries = sorted(self.all(), key=lambda one: one.order)
        assert list(self.catalog.entries(True)) == entries
        assert list(self.catalog.entries(False)) == [one for one in entries if one.running]
        items = msgspec.json.decode(b"".join(self.catalog.chunks(True, 1e6)))
        assert [one["Names"] for one in items] == [[f"/{one.shown}"] if one.name else [] for one in entries]
        assert [one["State"] for one in items] == [one.state for one in entries]

    @invariant()
    def every_name_has_one_holder(self) -> None:
        for name in ("web", "db"):
            same = [one for one in self.all() if one.name == name]
            plain = [one for one in same if one.shown == name]
            assert len(plain) == (1 if same else 0)
            claim = self.claims.get(name)
            claimed = [one for one in same if claim is not None and (one.node.id, one.id) == (claim[0], claim[2])]
            oldest = min(same, key=lambda one: (one.created, one.node.id, one.id), default=None)
            assert plain == (claimed or ([oldest] if oldest is not None else []))
            for one in same:
                found = self.catalog.index.find(one.shown, {"one": "N1", "two": "N2"}.get)
                assert found.name == name and found.shown == one.shown

    @invariant()
    def every_id_is_found(self) -> None:
        for number in range(6):
            there = sorted(key for key, one in NODES.items() if wide(number) in one.containers)
            for ref in (wide(number), wide(number)[:5]):
                try:
                    found = self.catalog.index.find(ref, lambda _: None)
                except NotFound:
                    assert not there
                else:
                    assert (found.id, found.node.id) == (wide(number), there[0])

    @invariant()
    def sums_are_right(self) -> None:
        counts = self.catalog.totals.all
        entries = self.all()
        assert counts.containers == len(entries)
        assert counts.running == sum(one.state == "running" for one in entries)
        assert counts.paused == sum(one.state == "paused" for one in entries)
        assert counts.stopped == counts.containers - counts.running - counts.paused
        assert counts.containers == sum(self.catalog.totals.node(key).containers for key in NODES)

    @invariant()
    def listeners_know_what_there_is(self) -> None:
        assert self.seen.keys() == {(one.node.id, one.id) for one in self.all()}
        assert all(entry.state == NODES[key[0]].containers[key[1]].state for key, entry in self.seen.items())


TestEverything = Everything.TestCase
TestEverything.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
