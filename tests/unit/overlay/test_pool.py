"""Addresses of a subnet: next-fit, inside the range, never a reserved one."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproxy.model.records import Subnet
from swarmproxy.overlay.pool import AddressError, Pool

subnets = st.builds(
    lambda base, length: ipaddress.ip_network((base & ~((1 << (32 - length)) - 1), length)),
    st.integers(0, 2**32 - 1),
    st.integers(24, 30),
)


@given(subnets, st.data())
def test_the_next_address_is_the_first_free_one_after_the_cursor(
    net: ipaddress.IPv4Network, data: st.DataObject
) -> None:
    hosts = [int(each) for each in net.hosts()]
    pool = Pool(Subnet(cidr=str(net), gateway=str(net[1]), aux={"a": str(net[-2])}))
    taken = set(data.draw(st.lists(st.sampled_from(hosts), max_size=len(hosts))))
    cursor = data.draw(st.sampled_from([-1, *hosts]))
    usable = [each for each in hosts if each not in taken and each not in (int(net[1]), int(net[-2]))]
    later = [each for each in usable if each > cursor]
    expected = (later or usable or [None])[0]
    assert pool.following(cursor, taken) == expected


@given(subnets)
def test_a_pool_gives_each_host_once_and_then_nothing(net: ipaddress.IPv4Network) -> None:
    pool = Pool(Subnet(cidr=str(net), gateway=str(net[1])))
    taken: set[int] = set()
    cursor = -1
    while (found := pool.following(cursor, taken)) is not None:
        assert found not in taken
        taken.add(found)
        cursor = found
    assert len(taken) == net.num_addresses - 3  # network, broadcast, gateway


def test_a_freed_address_is_not_the_next_one() -> None:
    pool = Pool(Subnet(cidr="10.0.0.0/24", gateway="10.0.0.1"))
    cursor = pool.parse("10.0.0.7")
    assert pool.text(pool.following(cursor, set()) or 0) == "10.0.0.8"


def test_a_range_bounds_what_is_given_but_not_what_may_be_asked_for() -> None:
    pool = Pool(Subnet(cidr="10.0.0.0/24", gateway="10.0.0.1", ip_range="10.0.0.128/30"))
    assert [pool.text(each) for each in range(pool.first, pool.last + 1)] == [f"10.0.0.{n}" for n in range(128, 132)]
    assert pool.text(pool.parse("10.0.0.7")) == "10.0.0.7"


def test_the_broadcast_address_of_the_subnet_is_not_given_by_a_range_that_ends_there() -> None:
    pool = Pool(Subnet(cidr="10.0.0.0/24", ip_range="10.0.0.252/30"))
    assert pool.text(pool.last) == "10.0.0.254"


def test_ipv6_pools_are_not_walked_whole() -> None:
    pool = Pool(Subnet(cidr="fd00::/64", gateway="fd00::1"))
    assert pool.with_prefix(pool.following(-1, {int(ipaddress.ip_address("fd00::2"))}) or 0) == "fd00::3/64"


@pytest.mark.parametrize("bad", [{"cidr": ""}, {"cidr": "x/24"}, {"cidr": "10.0.0.0/24", "ip_range": "10.0.1.0/25"}])
def test_a_subnet_that_cannot_be_is_refused(bad: dict[str, str]) -> None:
    with pytest.raises(AddressError):
        Pool(Subnet(**bad))  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", ["10.0.1.1", "fd00::1", "nonsense"])
def test_an_address_of_another_subnet_is_refused(asked: str) -> None:
    with pytest.raises(AddressError):
        Pool(Subnet(cidr="10.0.0.0/24")).parse(asked)
