from __future__ import annotations

from collections.abc import Callable

import msgspec

from swarmproxy.cluster.records import Changed, Records
from swarmproxy.discovery.store import KV, Event
from swarmproxy.model import keys
from swarmproxy.model.codec import Record, encode
from swarmproxy.model.records import BOUND, Alloc, Member, Name, NetworkCopy, Port, Volume


class Feed:
    """What Records needs of a cache, driven by hand."""

    def __init__(self) -> None:
        self.kvs: dict[str, KV] = {}
        self.listener: Callable[[Event], None] = lambda event: None
        self.revision = 0

    def listen(self, prefix: str, listener: Callable[[Event], None]) -> Callable[[], None]:
        self.listener = listener
        return lambda: None

    def under(self, prefix: str) -> list[KV]:
        return [kv for key, kv in sorted(self.kvs.items()) if key.startswith(prefix)]

    def put(self, key: str, value: Record | bytes, lease: int = 0) -> None:
        self.revision += 1
        data = value if isinstance(value, bytes) else encode(value)
        self.kvs[key] = KV(key, data, self.revision, self.revision, lease)
        self.listener(Event("put", self.kvs[key]))

    def delete(self, key: str) -> None:
        self.revision += 1
        del self.kvs[key]
        self.listener(Event("delete", KV(key, b"", 0, self.revision)))


def both() -> tuple[Feed, Records]:
    feed = Feed()
    return feed, Records(feed)  # type: ignore[arg-type]


def test_records_are_held_with_their_revision_and_what_was_there_before_counts() -> None:
    feed = Feed()
    feed.put(keys.node("N1"), Member(id="N1", name="one"))
    records = Records(feed)  # type: ignore[arg-type]
    assert (records.members["N1"].value.name, records.members["N1"].revision) == ("one", 1)
    feed.put(keys.node("N1"), Member(id="N1", name="two"), lease=7)
    held = records.members["N1"]
    assert (held.value.name, held.revision, held.lease, held.key) == ("two", 2, 7, "nodes/N1")
    feed.delete(keys.node("N1"))
    assert records.members == {}


def test_names_with_slashes_are_decoded() -> None:
    feed, records = both()
    feed.put(keys.volume("a/b"), Volume(name="a/b"))
    assert list(records.volumes) == ["a/b"]


def test_reservations_are_sums_of_the_claims() -> None:
    feed, records = both()
    web, dns = Port(port=80), Port(port=53, protocol="udp")
    feed.put(keys.alloc("N1", "T1"), Alloc(cpu=10, memory=100, ports=[web]))
    feed.put(keys.alloc("N1", "T2"), Alloc(cpu=1, memory=2, ports=[web, dns]))
    feed.put(keys.alloc("N2", "T3"), Alloc(cpu=5))
    one = records.reserved("N1")
    assert (one.cpu, one.memory, one.claims, one.ports) == (11, 102, 2, {web: ["T1", "T2"], dns: ["T2"]})
    feed.put(keys.alloc("N1", "T2"), Alloc(cpu=3))
    assert (one.cpu, one.ports) == (13, {web: ["T1"]})
    feed.delete(keys.alloc("N1", "T1"))
    feed.delete(keys.alloc("N1", "T2"))
    assert records.reserved("N1").claims == 0 and records.allocs == {"N2": records.allocs["N2"]}


def test_a_claim_is_followed_from_name_and_container() -> None:
    feed, records = both()
    assert records.claim("web") is None
    feed.put(keys.name("web"), Name(token="T", node="N1"))
    assert records.claim("web") == ("N1", "T", "")
    feed.put(keys.alloc("N1", "T"), Alloc(name="web", state=BOUND, container="c" * 64))
    assert records.claim("web") == ("N1", "T", "c" * 64)
    found = records.alloc_of("c" * 64)
    assert found is not None and found[:2] == ("N1", "T") and found[2].value.name == "web"
    feed.delete(keys.alloc("N1", "T"))
    assert records.alloc_of("c" * 64) is None


def test_copies_of_networks_are_found_both_ways() -> None:
    feed, records = both()
    feed.put(keys.netnode("NID", "N1"), NetworkCopy())
    assert records.copies_on("N1") == {"NID": ""}
    feed.put(keys.netnode("NID", "N1"), NetworkCopy(id="local"))
    assert (records.copies_on("N1"), records.network_of("N1", "local")) == ({"NID": "local"}, "NID")
    feed.delete(keys.netnode("NID", "N1"))
    assert (records.copies_on("N1"), records.network_of("N1", "local")) == ({}, None)


def test_who_holds_a_networks_name_is_what_its_key_says() -> None:
    feed, records = both()
    feed.put(keys.netname("n"), b"NID")
    assert records.netnames == {"n": "NID"}
    feed.delete(keys.netname("n"))
    assert records.netnames == {}


def test_what_cannot_be_read_is_absent_but_taken() -> None:
    feed, records = both()
    for value in (b"", b"\xff", b"[]", b'{"token": 3}'):
        feed.put(keys.name("web"), value)
        assert records.names == {} and records.unreadable == {"names/web"}
    feed.put(keys.name("web"), Name(token="T"))
    assert records.names["web"].value.token == "T" and records.unreadable == set()
    feed.put(keys.name("web"), msgspec.json.encode({"token": "T", "from the future": 1}))
    assert b"future" in records.names["web"].raw


def test_keys_of_no_known_kind_are_ignored() -> None:
    feed, records = both()
    for key in ("meta", "what/ever", "nodes/", "nodes/a/b", "alloc/N1", ""):
        feed.put(key, b"{}")
    assert (records.members, records.allocs) == ({}, {})


def test_listeners_hear_of_their_kind_after_the_mirror_has_it() -> None:
    feed, records = both()
    heard: list[tuple[Changed, int]] = []
    stop = records.listen(keys.NAMES, lambda changed: heard.append((changed, len(records.names))))
    feed.put(keys.name("web"), Name(token="T"))
    feed.put(keys.node("N1"), Member(id="N1"))
    feed.delete(keys.name("web"))
    assert [(changed.path, changed.old is None, changed.new is None, size) for changed, size in heard] == [
        (("web",), True, False, 1),
        (("web",), False, True, 0),
    ]
    stop()
    feed.put(keys.name("web"), Name(token="T"))
    assert len(heard) == 2
