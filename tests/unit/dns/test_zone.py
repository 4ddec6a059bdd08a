"""Who sees which names."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproxy.dns import wire
from swarmproxy.dns.zone import Zone
from swarmproxy.model.records import Endpoint


def endpoint(ip: str, *names: str, node: str = "n1", **more: Any) -> Endpoint:
    return Endpoint(ip=ip, names=list(names), node=node, **more)


def addresses(zone: Zone, nid: str, source: str, name: str, kind: int = wire.A) -> list[str] | None:
    hosts = zone.find(zone.asker(nid, source), name)
    if hosts is None:
        return None
    width = 4 if kind == wire.A else 16
    return sorted(str(ipaddress.ip_address(record[-width:])) for record in hosts.records(kind))


@pytest.fixture
def zone() -> Zone:
    made = Zone("me")
    made.network("f", "Front")
    made.network("b", "back")
    made.put("f", "e1", endpoint("10.0.0.2", "web-1", "aaaaaaaaaaaa", aliases=["web"], token="t1", links={"DB": "pg"}))
    made.put("f", "e2", endpoint("10.0.0.3", "web-2", aliases=["web"], ip6="fd00::3", node="n2"))
    made.put("f", "e3", endpoint("10.0.0.4", "pg"))
    made.put("b", "e4", endpoint("10.1.0.2", "web-1", token="t1", container="c" * 64))
    made.put("b", "e5", endpoint("10.1.0.3", "queue"))
    return made


@pytest.mark.parametrize(
    ("name", "expect"),
    [
        ("web-2", ["10.0.0.3"]),
        ("aaaaaaaaaaaa", ["10.0.0.2"]),
        ("web", ["10.0.0.2", "10.0.0.3"]),
        ("tasks.web", ["10.0.0.2", "10.0.0.3"]),
        ("web.front", ["10.0.0.2", "10.0.0.3"]),
        ("web-1", ["10.0.0.2", "10.1.0.2"]),
        ("web-1.back", ["10.1.0.2"]),
        ("queue", ["10.1.0.3"]),
        ("db", ["10.0.0.4"]),
        ("nobody", None),
        ("web.nowhere", None),
        ("", None),
    ],
)
def test_a_container_on_two_networks_sees_both_and_its_links(zone: Zone, name: str, expect: list[str] | None) -> None:
    assert addresses(zone, "f", "10.0.0.2", name) == expect


def test_others_see_their_own_network_only(zone: Zone) -> None:
    assert addresses(zone, "f", "10.0.0.3", "queue") is None
    assert addresses(zone, "f", "10.0.0.3", "db") is None
    assert addresses(zone, "f", "10.0.0.250", "pg") == ["10.0.0.4"]  # not known here yet


def test_a_known_name_without_ipv6_exists(zone: Zone) -> None:
    assert addresses(zone, "f", "10.0.0.4", "web-1", wire.AAAA) == []
    assert addresses(zone, "f", "10.0.0.4", "web", wire.AAAA) == ["fd00::3"]


def test_endpoints_of_one_container_belong_together_by_token_or_by_id(zone: Zone) -> None:
    zone.put("x", "e6", endpoint("10.2.0.2", "web-1", container="c" * 64))
    assert addresses(zone, "x", "10.2.0.2", "queue") == ["10.1.0.3"]  # by the id to e4


def test_a_record_that_is_not_ready_is_left_out_but_for_tasks(zone: Zone) -> None:
    zone.put("f", "e2", endpoint("10.0.0.3", "web-2", aliases=["web"], ready=False))
    assert addresses(zone, "f", "10.0.0.4", "web") == ["10.0.0.2"]
    assert addresses(zone, "f", "10.0.0.4", "web-2") is None
    assert addresses(zone, "f", "10.0.0.4", "tasks.web") == ["10.0.0.2", "10.0.0.3"]


def test_a_dead_hosts_names_leave_and_come_back(zone: Zone) -> None:
    assert addresses(zone, "f", "10.0.0.4", "web") == ["10.0.0.2", "10.0.0.3"]
    zone.dead("n2")
    assert addresses(zone, "f", "10.0.0.4", "web") == ["10.0.0.2"]
    assert addresses(zone, "f", "10.0.0.4", "web-2") is None
    zone.alive("n2")
    assert addresses(zone, "f", "10.0.0.4", "web") == ["10.0.0.2", "10.0.0.3"]


def test_this_hosts_own_names_never_leave() -> None:
    zone = Zone("me")
    zone.put("f", "e1", endpoint("10.0.0.2", "web", node="me"))
    zone.dead("me")
    assert addresses(zone, "f", "10.0.0.2", "web") == ["10.0.0.2"]


def test_a_rename_is_seen_at_once(zone: Zone) -> None:
    assert addresses(zone, "f", "10.0.0.4", "pg") == ["10.0.0.4"]
    zone.put("f", "e3", endpoint("10.0.0.4", "Postgres"))
    assert addresses(zone, "f", "10.0.0.4", "pg") is None
    assert addresses(zone, "f", "10.0.0.4", "postgres") == ["10.0.0.4"]


def test_replicas_take_turns_for_each_record_type(zone: Zone) -> None:
    heads = set()
    for _ in range(4):  # a client asks for both types, one after the other
        hosts = zone.find(zone.asker("f", "10.0.0.4"), "web")
        assert hosts is not None
        heads.add(hosts.records(wire.A)[0])
        hosts.records(wire.AAAA)
    assert len(heads) == 2


def test_reverse_names_tell_container_and_network(zone: Zone) -> None:
    asker = zone.asker("f", "10.0.0.2")
    assert zone.reverse(asker, "10.0.0.3") == "web-2.front"
    assert zone.reverse(asker, "10.1.0.3") == "queue.back"
    assert zone.reverse(zone.asker("f", "10.0.0.3"), "10.1.0.3") is None


steps = st.lists(
    st.tuples(
        st.sampled_from(["e1", "e2", "e3"]),
        st.one_of(
            st.none(), st.tuples(st.sampled_from(["10.0.0.2", "10.0.0.3"]), st.lists(st.sampled_from(["a", "b", "A"])))
        ),
    ),
    max_size=15,
)


@given(steps)
def test_answers_depend_on_what_is_there_and_not_on_how_it_came(steps: list[Any]) -> None:
    lived, there = Zone("me"), {}
    for endpoint_id, record in steps:
        if record is None:
            lived.remove("f", endpoint_id)
            there.pop(endpoint_id, None)
        else:
            there[endpoint_id] = endpoint(record[0], *record[1])
            lived.put("f", endpoint_id, there[endpoint_id])
        for name in ("a", "b"):
            expected = sorted(each.ip for each in there.values() if name in {n.lower() for n in each.names})
            assert addresses(lived, "f", "10.0.0.9", name) == (expected or None)
