"""Addresses held ahead of a start: taken by the next one, given back unused, never in anybody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from swarmproxy.model import keys
from swarmproxy.model.errors import DockerError
from swarmproxy.model.records import BOUND, Address, Alloc, Network, Subnet
from swarmproxy.overlay import ahead as ahead_module
from swarmproxy.overlay.ahead import MOST
from swarmproxy.overlay.ipam import Ipam
from tests.unit.protocol.pair import until

NID = "b" * 64
CIDR = "10.8.0.0/24"


@pytest.fixture(autouse=True)
async def network(shared: Any) -> None:
    await shared.put(keys.network(NID), Network(id=NID, name="wide", subnets=[Subnet(cidr=CIDR, gateway="10.8.0.1")]))


def ipam(shared: Any, node: str = "n1") -> Ipam:
    return Ipam(store=shared.store, mirror=shared.cache, node=node, holds=lambda nid, ip: False)


async def create(shared: Any, number: int, **more: Any) -> None:
    await shared.put(keys.alloc("n1", f"token-{number}"), Alloc(name=f"c{number}", networks=[NID], **more))


async def held(shared: Any) -> list[str]:
    return sorted(keys.parts(key)[2] for key in await shared.keys(keys.addresses(NID)))


def counted(shared: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    writes = 0
    txn = shared.store.txn

    async def counting(*given: Any) -> Any:
        nonlocal writes
        writes += 1
        return await txn(*given)

    monkeypatch.setattr(shared.store, "txn", counting)
    return lambda: writes


async def test_a_start_writes_nothing_for_the_address_that_its_create_brought(
    shared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = ipam(shared)
    await create(shared, 1)
    await until(lambda: (NID, "10.8.0.2") in mine.leases)
    writes = counted(shared, monkeypatch)
    assert await mine.request(NID, CIDR) == "10.8.0.2/24"
    assert writes() == 0
    assert await mine.request(NID, CIDR) == "10.8.0.3/24"
    assert writes() == 1


async def test_one_that_no_start_takes_is_given_back(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead_module, "HELD", 0.05)
    mine = ipam(shared)
    await create(shared, 1)
    await until(lambda: mine.leases)
    await until(lambda: not mine.leases)
    assert await held(shared) == []
    assert await mine.request(NID, CIDR) == "10.8.0.3/24"


async def test_what_happened_before_and_later_changes_of_a_claim_ask_for_nothing(shared: Any) -> None:
    mine = ipam(shared)
    await shared.put(keys.alloc("n1", "t"), Alloc(name="old", networks=[NID], state=BOUND))
    await shared.put(keys.alloc("n2", "t"), Alloc(name="elsewhere", networks=[NID]))
    await create(shared, 1)
    await create(shared, 1, cpu=1)
    await until(lambda: mine.leases)
    await asyncio.sleep(0)
    assert await held(shared) == ["10.8.0.2"]


async def test_not_more_than_a_few(shared: Any) -> None:
    mine = ipam(shared)
    for number in range(2 * MOST):
        await create(shared, number)
    await until(lambda: len(mine.leases) == MOST)
    assert len(await held(shared)) == MOST


@pytest.mark.parametrize("asker", ["n1", "n2"])
async def test_who_asks_for_this_very_address_gets_it(shared: Any, asker: str) -> None:
    mine, theirs = ipam(shared), ipam(shared, "n2")
    await create(shared, 1)
    await until(lambda: (NID, "10.8.0.2") in mine.leases)
    await shared.seen()
    asks = mine if asker == "n1" else theirs
    assert await asks.request(NID, CIDR, "10.8.0.2") == "10.8.0.2/24"
    await shared.seen()
    assert await mine.request(NID, CIDR) == "10.8.0.3/24"
    with pytest.raises(DockerError, match="^Address already in use$"):
        await mine.request(NID, CIDR, "10.8.0.2")


async def test_small_subnets_are_left_alone(shared: Any) -> None:
    nid = "c" * 64
    await shared.put(keys.network(nid), Network(id=nid, name="small", subnets=[Subnet(cidr="10.7.0.0/26")]))
    mine = ipam(shared)
    await shared.put(keys.alloc("n1", "t"), Alloc(name="c", networks=[nid, "gone" * 16]))
    await create(shared, 1)
    await until(lambda: (NID, "10.8.0.2") in mine.leases)
    assert await shared.keys(keys.addresses(nid)) == []


async def test_an_address_that_is_not_ours_any_more_is_not_given(shared: Any) -> None:
    mine = ipam(shared)
    await create(shared, 1)
    await until(lambda: (NID, "10.8.0.2") in mine.leases)
    await shared.put(keys.address(NID, "10.8.0.2"), Address(node="n2", endpoint="e"))
    await shared.seen()
    assert await mine.request(NID, CIDR) == "10.8.0.3/24"
