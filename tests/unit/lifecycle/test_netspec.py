from __future__ import annotations

import ipaddress
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproxy.lifecycle import netspec
from swarmproxy.model.errors import BadRequest, DockerError, Forbidden
from swarmproxy.model.records import DRIVER, OVERLAY


def asked(**fields: object) -> netspec.NetworkRequest:
    return netspec.parse(msgspec.json.encode(fields))


@pytest.mark.parametrize("driver", [None, "", "bridge", "overlay"])
def test_these_join_hosts(driver: str | None) -> None:
    assert asked(Name="n", Driver=driver).mode == OVERLAY


def test_other_drivers_do_not() -> None:
    assert asked(Name="n", Driver="macvlan").mode == DRIVER


def test_the_gateway_is_the_first_address_unless_told() -> None:
    request = asked(
        Name="n", IPAM={"Config": [{"Subnet": "10.9.0.0/24"}, {"Subnet": "10.8.0.0/24", "Gateway": "10.8.0.9"}]}
    )
    assert [subnet.gateway for subnet in request.subnets] == ["10.9.0.1", "10.8.0.9"]


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"Name": ""}, BadRequest, "invalid name: "),
        ({}, BadRequest, "invalid name: "),
        ({"Name": "bridge"}, Forbidden, "operation is not permitted on predefined bridge network "),
        ({"Name": 5}, BadRequest, "invalid JSON: "),
        (
            {"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0"}]}},
            BadRequest,
            "invalid network config:\ninvalid subnet 10.0.0: ",
        ),
        (
            {"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "Gateway": "10.1.0.1"}]}},
            BadRequest,
            "invalid network config:\ninvalid gateway 10.1.0.1: ",
        ),
        (
            {"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "IPRange": "10.1.0.0/28"}]}},
            BadRequest,
            "invalid network config:\ninvalid ip-range 10.1.0.0/28: ",
        ),
    ],
)
def test_faults(fields: dict[str, object], kind: type[DockerError], words: str) -> None:
    with pytest.raises(kind) as caught:
        asked(**fields)
    assert caught.value.message.startswith(words)


def test_overlapping_wishes_are_refused() -> None:
    request = asked(Name="n", IPAM={"Config": [{"Subnet": "10.9.0.0/16"}]})
    with pytest.raises(Forbidden, match="Pool overlaps"):
        netspec.refuse_overlap(request.subnets, ["10.9.4.0/24"])


@given(st.integers(0, 2**32), st.sets(st.integers(0, 15)), st.sets(st.integers(0, 15)))
def test_a_chosen_subnet_never_overlaps(seed: int, used: set[int], avoid: set[int]) -> None:
    cidrs = [f"10.0.{16 * index}.0/20" for index in used]
    hosts = [f"10.0.{16 * index}.7" for index in avoid]
    free = 16 - len(used | avoid)
    rng = random.Random(seed)
    if free == 0:
        with pytest.raises(DockerError, match="could not find an available"):
            netspec.choose_subnet(cidrs, avoid=hosts, pool="10.0.0.0/16", size=20, rng=rng)
        return
    got = ipaddress.ip_network(netspec.choose_subnet(cidrs, avoid=hosts, pool="10.0.0.0/16", size=20, rng=rng).cidr)
    assert not any(got.overlaps(ipaddress.ip_network(other)) for other in (*cidrs, *hosts))


def test_vnis_differ() -> None:
    assert netspec.choose_vni([0x100000], random.Random(1)) not in (0x100000,)
