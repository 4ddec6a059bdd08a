"""What a look at engine and store takes away, and what it must leave."""

from __future__ import annotations

from typing import Any

from swarmproxy.model.records import Address, Endpoint
from swarmproxy.overlay.reconcile import Found, plan
from swarmproxy.overlay.state import LocalEndpoint, LocalNetwork

NOW = 1000.0
NET = LocalNetwork(nid="nid", vni=1, cidr="10.0.0.0/24", gateway="10.0.0.1")


def local(ip: str, since: float = 0.0, network: str = "net") -> LocalEndpoint:
    return LocalEndpoint(network=network, nid="nid", ip=ip, since=since)


def found(**changes: Any) -> Found:
    base: dict[str, Any] = {
        "now": NOW,
        "live": frozenset(),
        "engine_networks": frozenset({"net"}),
        "cluster_networks": frozenset({"nid"}),
        "networks": {"net": NET},
        "endpoints": {},
        "addresses": {},
        "records": {},
        "busy": frozenset(),
    }
    return Found(**(base | changes))


def test_everything_in_order_stays() -> None:
    seen = found(
        live=frozenset({"e1"}),
        endpoints={"e1": local("10.0.0.2")},
        addresses={("nid", "10.0.0.2"): Address(endpoint="e1")},
        records={("nid", "e1"): Endpoint(ip="10.0.0.2")},
    )
    todo = plan(seen)
    assert not (todo.endpoints or todo.records or todo.addresses or todo.remove or todo.forget or todo.later)


def test_an_endpoint_that_the_engine_lost_goes_with_its_address_but_not_before_the_grace() -> None:
    addresses = {("nid", "10.0.0.2"): Address(endpoint="e1", since=NOW - 100)}
    todo = plan(found(endpoints={"e1": local("10.0.0.2", NOW - 100)}, addresses=addresses))
    assert (todo.endpoints, todo.addresses, todo.later) == (["e1"], [("nid", "10.0.0.2")], False)
    young = plan(found(endpoints={"e1": local("10.0.0.2", NOW - 5)}, addresses=addresses))
    assert (young.endpoints, young.addresses, young.later) == ([], [], True)


def test_an_address_whose_endpoint_is_on_its_way_stays() -> None:
    todo = plan(
        found(addresses={("nid", "10.0.0.2"): Address(since=NOW - 5), ("nid", "10.0.0.3"): Address(since=NOW - 50)})
    )
    assert (todo.addresses, todo.later) == ([("nid", "10.0.0.3")], True)


def test_a_record_without_endpoint_goes_unless_it_was_just_written() -> None:
    records = {("nid", "old"): Endpoint(ip="10.0.0.2"), ("nid", "new"): Endpoint(ip="10.0.0.3")}
    addresses = {("nid", "10.0.0.3"): Address(since=NOW - 1)}
    assert plan(found(records=records, addresses=addresses)).records == [("nid", "old")]


def test_a_network_gone_from_the_cluster_is_removed_only_when_nothing_hangs_on_it() -> None:
    gone = {"cluster_networks": frozenset()}
    assert plan(found(**gone)).remove == ["net"]
    assert plan(found(**gone, busy=frozenset({"net"}))).remove == []
    assert plan(found(**gone, live=frozenset({"e1"}), endpoints={"e1": local("10.0.0.2")})).remove == []


def test_a_network_that_the_engine_does_not_have_is_forgotten() -> None:
    assert plan(found(engine_networks=frozenset())).forget == ["net"]
    busy = plan(found(engine_networks=frozenset(), live=frozenset({"e1"}), endpoints={"e1": local("10.0.0.2")}))
    assert busy.forget == []


def test_a_network_being_made_is_not_taken_for_a_lost_one() -> None:
    young = LocalNetwork(nid="nid", vni=1, cidr="10.0.0.0/24", gateway="10.0.0.1", since=NOW - 1)
    todo = plan(found(engine_networks=frozenset(), networks={"net": young}))
    assert (todo.forget, todo.later) == ([], True)
