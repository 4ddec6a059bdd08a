from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproxy.model.errors import BadRequest
from swarmproxy.model.records import Port
from swarmproxy.model.snapshot import Holding
from swarmproxy.scheduler.body import parse_request, split_directives
from swarmproxy.scheduler.request import Request


def read(**body: Any) -> Request:
    return parse_request(body).request


def bound(*bindings: dict[str, str], key: str = "80/tcp") -> dict[str, Any]:
    return {"PortBindings": {key: list(bindings)}}


@pytest.mark.parametrize(
    ("host", "cpu", "memory"),
    [
        ({}, 0, 0),
        ({"NanoCpus": 1_500_000_000}, 1_500_000_000, 0),
        ({"CpuQuota": 50_000, "CpuPeriod": 100_000}, 500_000_000, 0),
        ({"CpuQuota": 50_000}, 500_000_000, 0),
        ({"CpuQuota": 200_000, "CpuPeriod": 50_000}, 4_000_000_000, 0),
        ({"CpuQuota": -1, "CpuPeriod": 100_000}, 0, 0),
        ({"NanoCpus": 10**9, "CpuQuota": 50_000}, 10**9, 0),
        ({"CpuShares": 512}, 0, 0),
        ({"Memory": 2**20}, 0, 2**20),
        ({"MemoryReservation": 2**20}, 0, 2**20),
        ({"Memory": 2**21, "MemoryReservation": 2**20}, 0, 2**21),
        ({"Memory": -1}, 0, 0),
        ({"Memory": "1g", "NanoCpus": True}, 0, 0),
    ],
)
def test_resources(host: dict[str, Any], cpu: int, memory: int) -> None:
    request = read(HostConfig=host)
    assert (request.cpu, request.memory) == (cpu, memory)


@pytest.mark.parametrize(
    ("binding", "ports"),
    [
        ({"HostPort": "8080"}, (Port(port=8080),)),
        ({"HostIp": "10.0.0.1", "HostPort": "8080"}, (Port(port=8080, ip="10.0.0.1"),)),
        ({"HostPort": ""}, ()),
        ({"HostPort": "0"}, ()),
        ({}, ()),
        ({"HostPort": "8000-8010"}, ()),
        ({"HostPort": "8000-8000"}, (Port(port=8000),)),
        ({"HostPort": "99999"}, ()),
        ({"HostPort": "http"}, ()),
    ],
)
def test_which_bindings_hold_a_port(binding: dict[str, str], ports: tuple[Port, ...]) -> None:
    assert read(ExposedPorts={"80/tcp": {}}, HostConfig=bound(binding)).ports == ports


def test_a_binding_counts_only_when_exposed() -> None:
    body = {"HostConfig": bound({"HostPort": "8080"})}
    assert parse_request(body).request.ports == ()
    assert parse_request(body, image_ports=["80/tcp"]).request.ports == (Port(port=8080),)
    assert parse_request(body, image_ports=["80"]).request.ports == (Port(port=8080),)
    assert parse_request(body, image_ports=["80/udp"]).request.ports == ()
    assert parse_request(body, image_ports=["70-90"]).request.ports == (Port(port=8080),)


def test_a_binding_without_protocol_is_tcp() -> None:
    assert read(ExposedPorts={"80/tcp": {}}, HostConfig=bound({"HostPort": "8080"}, key="80")).ports == (
        Port(port=8080),
    )


def test_one_port_asked_twice_is_one() -> None:
    request = read(ExposedPorts={"53/udp": {}}, HostConfig=bound({"HostPort": "53"}, {"HostPort": "53"}, key="53/udp"))
    assert request.ports == (Port(port=53, protocol="udp"),)


def test_on_the_hosts_network_the_bodys_exposed_ports_are_held() -> None:
    body = {
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "HostConfig": {"NetworkMode": "host", **bound({"HostPort": "8080"})},
    }
    request = parse_request(body, image_ports=["443/tcp"]).request
    assert request.ports == (Port(port=53, protocol="udp"), Port(port=80))
    assert request.host_network


@pytest.mark.parametrize("mode", ["none", "container:db"])
def test_without_a_network_of_its_own_nothing_is_published(mode: str) -> None:
    assert read(ExposedPorts={"80/tcp": {}}, HostConfig={"NetworkMode": mode, **bound({"HostPort": "80"})}).ports == ()


def test_the_placement_words_leave_the_environment_and_stay_in_labels() -> None:
    parsed = parse_request(
        {
            "Env": ["A=constraint:node==x", "constraint:node==n1", "affinity:image==~nginx", "reschedule:off", "B"],
            "Labels": {"com.docker.swarm.constraints": '["region==eu"]', "own": "1"},
        }
    )
    assert parsed.env == ("A=constraint:node==x", "B")
    assert parsed.labels == {
        "com.docker.swarm.constraints": '["region==eu","node==n1"]',
        "com.docker.swarm.affinities": '["image==~nginx"]',
        "com.docker.swarm.reschedule-policies": '["off"]',
    }
    request = parsed.request
    assert [each.text for each in request.constraints] == ["region==eu", "node==n1"]
    assert [(each.text, each.soft) for each in request.affinities] == [("image==nginx", True)]
    assert request.reschedule == "off"
    again = parse_request({"Env": list(parsed.env), "Labels": dict(parsed.labels)})
    assert again.request == request, "what is kept places it again by the same rules"
    assert again.labels == parsed.labels


def test_a_value_may_hold_colons() -> None:
    assert read(Env=["affinity:image==reg:5000/app:v1"]).affinities[0].value == "reg:5000/app:v1"


def test_build_arguments_use_the_same_words() -> None:
    found = split_directives(["constraint:node==node-9", "greeting=Hello"], {})
    assert [each.text for each in found.constraints] == ["node==node-9"]
    assert found.rest == ("greeting=Hello",)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"Env": ["constraint:node"]}, "One of operator ==, != is expected"),
        ({"Env": ["affinity:x==y"]}, "Key 'x' is invalid"),
        ({"Env": ["whitelist:node=="]}, "Value '' is invalid"),
        ({"Labels": {"com.docker.swarm.constraints": '["node=1"]'}}, "One of operator ==, != is expected"),
        ({"Env": ["reschedule:false"]}, "invalid reschedule policy: false"),
        ({"Env": ["reschedule:off", "reschedule:off"]}, "too many reschedule policies"),
        (
            {"Env": ["reschedule:off"], "Labels": {"com.docker.swarm.reschedule-policies": '["on-node-failure"]'}},
            "too many reschedule policies",
        ),
        (
            {"Labels": {"com.docker.swarm.constraints": "node==n1"}},
            "label com.docker.swarm.constraints is not a JSON array of strings: node==n1",
        ),
    ],
)
def test_malformed_words_are_refused(body: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request(body)
    assert (caught.value.message, caught.value.status) == (words, 400)


def compose(**more: str) -> dict[str, str]:
    base = {"project": "p", "service": "web", "container-number": "2"}
    return {f"com.docker.compose.{key.replace('_', '-')}": value for key, value in {**base, **more}.items()}


@pytest.mark.parametrize(
    ("labels", "unit"),
    [
        (compose(), "p/web/2"),
        (compose(oneoff="False"), "p/web/2"),
        (compose(oneoff="True"), ""),
        (compose(service=""), ""),
        ({}, ""),
    ],
)
def test_who_is_replaced(labels: dict[str, str], unit: str) -> None:
    request = read(Labels=labels)
    assert request.unit == unit
    assert request.replaces(Holding(80, unit="p/web/2")) is (unit != "")
    assert not request.replaces(Holding(80))


@pytest.mark.parametrize(
    ("host", "bonds"),
    [
        ({"VolumesFrom": ["db:ro", "/other"]}, [("--volumes-from=db:ro", "db"), ("--volumes-from=/other", "other")]),
        ({"Links": ["/db:/web/db"]}, [("--link=/db:/web/db", "db")]),
        ({"Links": ["db:database"], "NetworkMode": "bridge"}, [("--link=db:database", "db")]),
        ({"Links": ["db:database"], "NetworkMode": "app_default"}, []),
        ({"NetworkMode": "container:db"}, [("--net=container:db", "db")]),
        (
            {"PidMode": "container:a", "IpcMode": "container:b"},
            [("--pid=container:a", "a"), ("--ipc=container:b", "b")],
        ),
        ({"PidMode": "host", "IpcMode": "shareable"}, []),
    ],
)
def test_what_must_be_on_the_same_node(host: dict[str, Any], bonds: list[tuple[str, str]]) -> None:
    assert [(bond.text, bond.target) for bond in read(HostConfig=host).dependencies] == bonds


def test_named_volumes() -> None:
    host = {
        "Binds": ["data:/data", "/srv:/srv", "./x:/x", "data:/again:ro", "/anonymous"],
        "Mounts": [
            {"Type": "volume", "Source": "logs", "Target": "/l"},
            {"Type": "volume", "Target": "/t"},
            {"Type": "bind", "Source": "/b", "Target": "/b"},
        ],
    }
    assert read(HostConfig=host).volumes == ("data", "logs")


def test_networks() -> None:
    assert read(
        HostConfig={"NetworkMode": "front"}, NetworkingConfig={"EndpointsConfig": {"front": {}, "back": None}}
    ).networks == ("front", "back")
    assert read(HostConfig={"NetworkMode": "default"}).networks == ()


KEYS = st.text("a:/-1", max_size=4)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**12) | KEYS | st.just("container:x"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
HOST_KEYS = (
    "NetworkMode PidMode IpcMode PortBindings VolumesFrom Links Binds Mounts "
    "Memory MemoryReservation NanoCpus CpuQuota CpuPeriod"
).split()
BODY_KEYS = ["Env", "Labels", "ExposedPorts", "Image", "HostConfig", "NetworkingConfig"]


@given(
    st.dictionaries(st.sampled_from(BODY_KEYS), JUNK, max_size=4),
    st.dictionaries(st.sampled_from(HOST_KEYS), JUNK | st.dictionaries(st.just("80/tcp"), JUNK), max_size=5),
)
def test_a_body_of_the_wrong_shape_is_the_engines_to_refuse(body: dict[str, Any], host: dict[str, Any]) -> None:
    parse_request({"HostConfig": host, **body})
