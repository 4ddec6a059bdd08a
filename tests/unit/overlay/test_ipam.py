"""Addresses are unique in the cluster, whoever asks, and come back when nobody has them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from swarmproxy.discovery.store import Unavailable
from swarmproxy.model import keys
from swarmproxy.model.errors import DockerError, NotFound, StoreLost
from swarmproxy.model.records import Address, Network, Subnet
from swarmproxy.overlay.ipam import Ipam

NID = "a" * 64
CIDR = "10.9.0.0/29"


def ipam(shared: Any, node: str = "n1", held: set[str] | None = None) -> Ipam:
    return Ipam(store=shared.store, mirror=shared.cache, node=node, holds=lambda nid, ip: ip in (held or set()))


async def test_two_nodes_never_give_the_same_address(shared: Any) -> None:
    one, two = ipam(shared, "n1"), ipam(shared, "n2")
    given = await asyncio.gather(*[each.request(NID, CIDR) for each in (one, two, one, two, one)])
    assert len(set(given)) == 5
    assert all(each.endswith("/29") for each in given)
    with pytest.raises(
        DockerError, match=rf"no available IPv4 addresses on this network's address pools: front \({NID}\)"
    ):
        await two.request(NID, CIDR)


async def test_a_full_pool_gives_again_what_was_released_elsewhere(shared: Any) -> None:
    one, two = ipam(shared, "n1"), ipam(shared, "n2")
    given = [await one.request(NID, CIDR) for _ in range(5)]
    await one.release(NID, given[2].partition("/")[0])
    assert await two.request(NID, CIDR) == given[2]  # without waiting for the mirror


async def test_a_released_address_is_not_the_next_one(shared: Any) -> None:
    one = ipam(shared)
    first = await one.request(NID, CIDR)
    await one.release(NID, first.partition("/")[0])
    assert await one.request(NID, CIDR) != first


async def test_the_gateway_is_the_same_everywhere_and_takes_no_key(shared: Any) -> None:
    assert await ipam(shared, "n1").gateway(NID, CIDR, "") == "10.9.0.1/29"
    assert await ipam(shared, "n2").gateway(NID, CIDR, "10.9.0.1") == "10.9.0.1/29"
    assert await shared.keys(keys.IPAM) == []


async def test_a_taken_address_is_refused_in_dockers_words(shared: Any) -> None:
    await ipam(shared, "n1").request(NID, CIDR, "10.9.0.4")
    for asked in ("10.9.0.4", "10.9.0.1"):
        with pytest.raises(DockerError, match="^Address already in use$"):
            await ipam(shared, "n2").request(NID, CIDR, asked)


async def test_a_leftover_of_this_node_is_taken_over_but_not_one_in_use(shared: Any) -> None:
    await shared.put(keys.address(NID, "10.9.0.4"), Address(node="n1", endpoint="gone"))
    with pytest.raises(DockerError, match="already in use"):
        await ipam(shared, held={"10.9.0.4"}).request(NID, CIDR, "10.9.0.4")
    one = ipam(shared)
    assert await one.request(NID, CIDR, "10.9.0.4") == "10.9.0.4/29"
    with pytest.raises(DockerError, match="already in use"):
        await one.request(NID, CIDR, "10.9.0.4")  # now asked for, its endpoint on the way


async def test_what_a_removed_member_left_is_taken_over(shared: Any) -> None:
    await shared.put(keys.address(NID, "10.9.0.4"), Address(node="removed"))
    await shared.put(keys.address(NID, "10.9.0.5"), Address(node="n2"))
    assert await ipam(shared).request(NID, CIDR, "10.9.0.4") == "10.9.0.4/29"
    with pytest.raises(DockerError):
        await ipam(shared).request(NID, CIDR, "10.9.0.5")


async def test_an_auxiliary_address_is_reserved_on_every_node_and_given_to_nobody(shared: Any) -> None:
    subnet = Subnet(cidr=CIDR, gateway="10.9.0.1", aux={"router": "10.9.0.2"})
    await shared.put(keys.network(NID), Network(id=NID, name="front", subnets=[subnet]))
    for node in ("n1", "n2"):
        assert await ipam(shared, node).request(NID, CIDR, "10.9.0.2") == "10.9.0.2/29"
    assert await ipam(shared).request(NID, CIDR) == "10.9.0.3/29"


async def test_only_the_owner_gives_an_address_back(shared: Any) -> None:
    await ipam(shared, "n1").request(NID, CIDR, "10.9.0.4")
    await ipam(shared, "n2").release(NID, "10.9.0.4")
    assert await shared.keys(keys.IPAM) == [keys.address(NID, "10.9.0.4")]
    await ipam(shared, "n1").release(NID, "10.9.0.4")
    assert await shared.keys(keys.IPAM) == []


async def test_an_answer_that_was_lost_after_the_write_still_counts(
    shared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shared.store.txn

    async def lossy(*args: Any) -> Any:
        await real(*args)
        raise Unavailable("lost")

    monkeypatch.setattr(shared.store, "txn", lossy)
    assert await ipam(shared).request(NID, CIDR) == "10.9.0.2/29"


async def test_no_store_no_address_and_no_wait(shared: Any) -> None:
    shared.cache.lost_since = 1.0
    with pytest.raises(StoreLost):
        await ipam(shared).request(NID, CIDR)
    shared.cache.lost_since = None


async def test_a_network_that_is_not_the_clusters_has_no_addresses(shared: Any) -> None:
    with pytest.raises(NotFound):
        await ipam(shared).request("b" * 64, CIDR)
