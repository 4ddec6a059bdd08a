from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproxy.cluster.entry import Entry, identity
from swarmproxy.cluster.health import Health, State
from swarmproxy.cluster.node import Node
from swarmproxy.model import options
from swarmproxy.model.records import Member
from tests.unit.cluster.shapes import as_it_is, entry, item, node

A = "a" * 64


def read(one: Entry, now: float = 1e6) -> Any:
    return msgspec.json.decode(one.bytes(now))


def test_an_entry_reads_as_the_engine_wrote_it_unknown_fields_too() -> None:
    raw = item(A, New={"x": [1, 2.50]}, Zed=None)
    one = Entry(raw, node(), rewrite=as_it_is, asked=1e6, answered=1e6)
    assert one.bytes(1e6) == raw


@given(st.permutations(["Id", "Names", "Status", "State", "Created", "Extra"]))
def test_whatever_the_order_of_the_fields(order: list[str]) -> None:
    fields = {"Id": A, "Names": ["/web"], "Status": "Up 3 minutes", "State": "running", "Created": 1, "Extra": {"a": 1}}
    raw = msgspec.json.encode({key: fields[key] for key in order})
    one = Entry(raw, node(), rewrite=as_it_is, asked=1e6, answered=1e6)
    assert identity(raw) == A
    assert read(one) == fields


def test_the_status_ages_and_the_rest_stays() -> None:
    one = entry(A, Status="Up 3 minutes (healthy)")
    before = read(one)
    after = read(one, 1e6 + 3600)
    assert after.pop("Status") == "Up About an hour (healthy)"
    before.pop("Status")
    assert before == after


def test_the_shown_name_is_its_own_matter() -> None:
    one = entry(A, Names=["/db/alias", "/web"])
    assert one.name == "web"
    assert read(one)["Names"] == ["/db/alias", "/web"]
    one.show("node-1/web")
    assert read(one)["Names"] == ["/node-1/db/alias", "/node-1/web"]


def test_a_lost_engine_shows_in_the_status() -> None:
    place = node()
    one = entry(A, place)
    place.health = Health(State.UNHEALTHY)
    one.age()
    assert read(one)["Status"] == "Up 3 minutes (unreachable)"


def test_filters_find_their_fields() -> None:
    one = entry(
        A,
        Labels={"a": "1", options.LABEL_TOKEN: "T"},
        Ports=[{"PrivatePort": 80, "Type": "tcp"}],
        Mounts=[{"Type": "volume", "Name": "v"}],
        State="paused",
        Status="Up 2 hours (Paused)",
        HostConfig={"NetworkMode": "n1"},
        NetworkSettings={"Networks": {"n1": {"NetworkID": "b" * 64}}},
    )
    assert (one.token, one.labels["a"], one.running, one.health) == ("T", "1", True, "none")
    assert (one.network_mode, one.networks) == ("n1", {"n1": "b" * 64})
    assert (one.ports[0]["PrivatePort"], one.mounts[0]["Name"]) == (80, "v")


@pytest.mark.parametrize(
    ("status", "health"),
    [
        ("Up 1 second", "none"),
        ("Up 1 second (healthy)", "healthy"),
        ("Up 1 second (unhealthy)", "unhealthy"),
        ("Up 1 second (health: starting)", "starting"),
        ("Exited (0) 1 second ago", "none"),
    ],
)
def test_health_is_read_from_the_status(status: str, health: str) -> None:
    assert entry(A, Status=status).health == health


def test_sparse_items_are_taken() -> None:
    one = Entry(b'{"Id":"' + A.encode() + b'"}', node(), rewrite=as_it_is, asked=0, answered=0)
    assert (one.name, one.state) == ("", "exited")
    assert read(one) == {"Id": A, "Names": [], "Status": ""}


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"Id":1}', b'{"Id":"x","Names":3}'])
def test_garbage_is_a_decoding_error(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        Entry(raw, node(), rewrite=as_it_is, asked=0, answered=0)


def test_network_ids_are_swapped_everywhere_in_the_item() -> None:
    place, local, cluster = node(), "1" * 64, "2" * 64
    assert place.map_networks({cluster: local, "3" * 64: ""}) == {local, cluster}
    fields = {"HostConfig": {"NetworkMode": local}, "NetworkSettings": {"Networks": {"n": {"NetworkID": local}}}}
    one = entry(A, place, **fields)
    assert (one.network_mode, one.networks) == (cluster, {"n": cluster})
    assert local.encode() not in one.bytes(1e6)
    assert place.map_networks({cluster: local}) == frozenset()
    assert place.map_networks({}) == {local, cluster}
    assert place.former[local] == cluster


def test_a_stopped_container_keeps_the_bridges_old_id_and_shows_the_clusters() -> None:
    old, bridge = "4" * 64, options.PREDEFINED["bridge"]
    fields = {"NetworkSettings": {"Networks": {"bridge": {"NetworkID": old}, "n": {"NetworkID": ""}}}}
    one = entry(A, **fields)
    assert one.networks == {"bridge": bridge, "n": ""}
    assert read(one)["NetworkSettings"]["Networks"]["bridge"]["NetworkID"] == bridge


@pytest.mark.parametrize(
    ("address", "vtep", "shown", "ip"),
    [
        ("http://10.0.0.1:2375", "", "10.0.0.1:2375", "10.0.0.1"),
        ("https://host:2376", "10.9.9.9", "host:2376", "10.9.9.9"),
        ("unix:///run/docker.sock", "", "/run/docker.sock", "127.0.0.1"),
        ("http://[fd00::1]:2375", "", "[fd00::1]:2375", "fd00::1"),
        ("10.0.0.1:2375", "", "10.0.0.1:2375", "10.0.0.1"),
    ],
)
def test_where_a_node_is(address: str, vtep: str, shown: str, ip: str) -> None:
    one = Node(Member(id="N", address=address, vtep=vtep), node().engine)
    assert (one.address, one.ip) == (shown, ip)
