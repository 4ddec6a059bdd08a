"""Forwarding entries follow the newest record, whatever order changes come in."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from swarmproxy.model.records import Endpoint
from swarmproxy.overlay.forwarding import Forwarding, Neighbour, Route

ME, A, B = "me", "a", "b"


def endpoint(ip: str, node: str, *, mac: str = "", ip6: str = "") -> Endpoint:
    return Endpoint(ip=ip, ip6=ip6, mac=mac or f"02:42:{ip}", node=node)


def table() -> Forwarding:
    return Forwarding(ME, {ME: "10.0.0.1", A: "10.0.0.2", B: "10.0.0.3"})


def test_a_remote_endpoint_has_a_route_and_a_neighbour_for_each_address() -> None:
    changes = table().put("e1", endpoint("x", A, ip6="y"), 1)
    assert changes == [Route("02:42:x", "10.0.0.2"), Neighbour("x", "02:42:x"), Neighbour("y", "02:42:x")]


def test_a_local_endpoint_has_neither() -> None:
    assert table().put("e1", endpoint("x", ME), 1) == []


def test_an_address_that_comes_home_loses_its_remote_entries() -> None:
    known = table()
    known.put("e1", endpoint("x", A), 1)
    assert known.put("e2", endpoint("x", ME), 2) == [Route("02:42:x", ""), Neighbour("x", "")]


def test_the_late_end_of_a_former_holder_does_not_touch_the_new_one() -> None:
    known = table()
    known.put("old", endpoint("x", A), 1)
    known.put("new", endpoint("x", B), 2)
    assert known.remove("old") == []
    assert known.routes == {"02:42:x": "10.0.0.3"}


def test_a_node_that_gets_its_address_late_brings_its_endpoints() -> None:
    known = Forwarding(ME)
    assert known.put("e1", endpoint("x", A), 1) == []
    assert known.move(A, "10.0.0.9") == [Route("02:42:x", "10.0.0.9"), Neighbour("x", "02:42:x")]
    assert known.move(A, "") == [Route("02:42:x", ""), Neighbour("x", "")]


records = st.builds(
    endpoint, st.sampled_from("xyz"), st.sampled_from([ME, A, B, "stranger"]), ip6=st.sampled_from(["", "v"])
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(["e1", "e2", "e3"]), records),
        st.tuples(st.just("remove"), st.sampled_from(["e1", "e2", "e3"])),
        st.tuples(st.just("move"), st.sampled_from([A, B]), st.sampled_from(["", "10.0.0.2", "10.0.0.9"])),
    ),
    max_size=25,
)


@settings(max_examples=150)
@given(steps)
def test_what_was_told_adds_up_to_what_the_records_say(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    known = table()
    vteps = {A: "10.0.0.2", B: "10.0.0.3"}
    held: dict[str, tuple[int, Endpoint]] = {}
    kernel_routes: dict[str, str] = {}
    kernel_neighbours: dict[str, str] = {}
    for revision, step in enumerate(steps, 1):
        if step[0] == "put":
            changes = known.put(step[1], step[2], revision)
            held[step[1]] = (revision, step[2])
        elif step[0] == "remove":
            changes = known.remove(step[1])
            held.pop(step[1], None)
        else:
            changes = known.move(step[1], step[2])
            vteps[step[1]] = step[2]
        for change in changes:
            target, key, value = (
                (kernel_routes, change.mac, change.vtep)
                if isinstance(change, Route)
                else (kernel_neighbours, change.ip, change.mac)
            )
            if value:
                target[key] = value
            else:
                del target[key]  # never told to delete what is not there
    want_routes: dict[str, str] = {}
    want_neighbours: dict[str, str] = {}
    by_age = [each for _, each in sorted(held.values(), key=lambda pair: pair[0])]
    for record in by_age:
        remote = vteps.get(record.node, "") if record.node != ME else ""
        want_routes[record.mac] = remote
        for ip in (record.ip, record.ip6):
            if ip:
                want_neighbours[ip] = record.mac if remote else ""
    assert kernel_routes == {mac: vtep for mac, vtep in want_routes.items() if vtep} == known.routes
    assert kernel_neighbours == {ip: mac for ip, mac in want_neighbours.items() if mac} == known.neighbours
