"""The engine's calls, as it really sends them, against fabric and store; only the kernel is not there."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from swarmproxy.discovery.store import KV, Delete, Put
from swarmproxy.model import keys
from swarmproxy.model.codec import encode
from swarmproxy.model.records import Address, Alloc, Endpoint, Network, Subnet
from swarmproxy.overlay import fabric as fabric_module
from swarmproxy.overlay import plugin as plugin_module
from swarmproxy.overlay.fabric import Fabric, Marks
from swarmproxy.overlay.ipam import Ipam
from swarmproxy.overlay.peers import Peers
from swarmproxy.overlay.plugin import Plugin
from swarmproxy.overlay.state import LocalNetwork, State

NID = "a" * 64
NET = "e" * 64
EID = "0123456789ab" + "0" * 52
POOL = {"PoolID": f"{NID}/10.9.0.0_29"}


class Kernel:
    """Stands for the devices: remembers what is plugged in."""

    def __init__(self) -> None:
        self.open: dict[str, LocalNetwork] = {}
        self.veths: dict[str, str] = {}
        self.moved: list[tuple[str, str]] = []
        self.broken = False
        self.slow: asyncio.Event | None = None

    def get(self, nid: str) -> LocalNetwork | None:
        return self.open.get(nid)

    async def ensure(self, spec: LocalNetwork) -> None:
        self.open[spec.nid] = spec

    async def resync(self, nid: str) -> int:
        return 0

    async def drop(self, nid: str) -> None:
        self.open.pop(nid, None)

    async def plug(self, nid: str, endpoint_id: str, mac: str) -> None:
        if self.broken:
            raise OSError("no buffer space")
        if self.slow is not None:
            await self.slow.wait()
        self.veths[endpoint_id] = mac

    async def unplug(self, nid: str, endpoint_id: str) -> None:
        self.veths.pop(endpoint_id, None)

    async def run(self, work: Any) -> Any:
        return await work

    async def move_dns_route(self, sandbox: str, mac: str) -> None:
        self.moved.append((sandbox, mac))


class Rig:
    """A plugin with everything behind it."""

    def __init__(self, shared: Any, folder: Path) -> None:
        self.shared = shared
        self.kernel: Any = Kernel()
        self.state = State(folder)
        peers = Peers(mirror=shared.cache, node="n1", changed=lambda nid, changes: None, members=lambda vteps: None)
        self.ipam = Ipam(store=shared.store, mirror=shared.cache, node="n1", holds=self.state.holds)
        self.fabric = Fabric(node="n1", vtep="192.0.2.1", store=shared.store, mirror=shared.cache, state=self.state,
                             segments=self.kernel, peers=peers, ipam=self.ipam, netlink=self.kernel)  # fmt: skip
        self.plugin = Plugin(fabric=self.fabric, ipam=self.ipam, folder=folder)

    async def call(self, name: str, **body: Any) -> dict[str, Any]:
        reply = await self.plugin.answer(f"/{name}", json.dumps(body).encode())
        assert reply is not None
        return dict(reply)

    async def network(self) -> dict[str, Any]:
        generic = {"swp.id": NID, "swp.vni": "4097"}
        return await self.call(
            "NetworkDriver.CreateNetwork",
            NetworkID=NET,
            Options={"com.docker.network.enable_ipv6": False, "com.docker.network.generic": generic},
            IPv4Data=[{"AddressSpace": "swplocal", "Gateway": "10.9.0.1/29", "Pool": "10.9.0.0/29"}],
            IPv6Data=[],
        )

    async def endpoint(self, endpoint_id: str = EID, address: str = "", **options: str) -> dict[str, Any]:
        given = await self.call("IpamDriver.RequestAddress", **POOL, Address=address, Options=None)
        if given.get("Err"):
            return given
        interface = {"Address": given["Address"], "AddressIPv6": "", "MacAddress": ""}
        named = {"com.docker.network.portmap": [], **{f"swp.{key}": value for key, value in options.items()}}
        reply = await self.call("NetworkDriver.CreateEndpoint", NetworkID=NET, EndpointID=endpoint_id,
                                Interface=interface, Options=named)  # fmt: skip
        if self.kernel.slow is None and (making := self.fabric.making.values()):
            await asyncio.wait(making)
        return reply

    async def join(self, endpoint_id: str = EID) -> dict[str, Any]:
        """Answered when the endpoint is made."""
        return await self.call("NetworkDriver.Join", EndpointID=endpoint_id, SandboxKey="/run/docker/netns/1")


@pytest.fixture
async def rig(shared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    made = Rig(shared, tmp_path)
    monkeypatch.setattr(fabric_module, "move_dns_route", made.kernel.move_dns_route)
    assert await made.network() == {}
    yield made


class Behind:
    """A mirror that has missed the last change of one key."""

    def __init__(self, mirror: Any, stale: KV) -> None:
        self._mirror, self._stale = mirror, stale

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mirror, name)

    def get(self, key: str) -> KV | None:
        found: KV | None = self._stale if key == self._stale.key else self._mirror.get(key)
        return found


async def test_a_rename_that_the_mirror_has_not_heard_of_counts(rig: Rig) -> None:
    key = keys.alloc("n1", "tok")
    await rig.shared.put(key, Alloc(name="before", container="c" * 64))
    stale = await rig.shared.store.get(key)
    await rig.shared.put(key, Alloc(name="after", container="c" * 64))
    rig.fabric._mirror = cast(Any, Behind(rig.shared.cache, stale))
    await rig.endpoint(token="tok", name="before")
    assert (await rig.shared.read(keys.endpoint(NID, EID), Endpoint)).names == ["after", "c" * 12]


async def test_a_container_comes_and_goes_without_a_trace(rig: Rig) -> None:
    await rig.shared.put(keys.alloc("n1", "tok"), Alloc(name="renamed", container="c" * 64))
    assert await rig.endpoint(token="tok", name="web", aliases='["www"]', links='{"db":"pg"}') == {
        "Interface": {"MacAddress": "02:42:0a:09:00:02"}
    }
    record = await rig.shared.read(keys.endpoint(NID, EID), Endpoint)
    assert (record.names, record.aliases, record.links) == (["renamed", "c" * 12], ["www"], {"db": "pg"})
    assert (record.ip, record.mac, record.node, record.token) == ("10.9.0.2", "02:42:0a:09:00:02", "n1", "tok")
    address = await rig.shared.read(keys.address(NID, "10.9.0.2"), Address)
    assert (address.endpoint, address.token) == (EID, "tok")
    joined = await rig.call("NetworkDriver.Join", NetworkID=NET, EndpointID=EID, SandboxKey="/run/docker/netns/1")
    assert joined == {
        "InterfaceName": {"SrcName": "swc01234567", "DstPrefix": "eth"},
        "StaticRoutes": [{"Destination": "169.254.215.53/32", "RouteType": 1}],
    }
    for _ in range(2):  # the engine may say it twice
        assert await rig.call("NetworkDriver.Leave", NetworkID=NET, EndpointID=EID) == {}
        assert await rig.call("NetworkDriver.DeleteEndpoint", NetworkID=NET, EndpointID=EID) == {}
        assert await rig.call("IpamDriver.ReleaseAddress", **POOL, Address="10.9.0.2") == {}
    assert await rig.shared.keys(keys.ENDPOINTS) == await rig.shared.keys(keys.IPAM) == []
    assert rig.kernel.veths == rig.state.endpoints == {}


async def test_a_container_made_without_options_has_no_name_yet(rig: Rig) -> None:
    await rig.endpoint()
    record = await rig.shared.read(keys.endpoint(NID, EID), Endpoint)
    assert (record.names, record.token) == ([], "")


async def test_a_mac_that_was_asked_for_is_kept_and_not_repeated(rig: Rig) -> None:
    given = await rig.call("IpamDriver.RequestAddress", **POOL, Address="", Options=None)
    interface = {"Address": given["Address"], "AddressIPv6": "", "MacAddress": "02:AA:00:00:00:01"}
    reply = await rig.call(
        "NetworkDriver.CreateEndpoint", NetworkID=NET, EndpointID=EID, Interface=interface, Options={}
    )
    assert reply == {"Interface": {}}
    assert rig.kernel.veths == {EID: "02:aa:00:00:00:01"}


async def test_an_address_lost_to_another_node_before_the_endpoint_was_made_is_noticed(rig: Rig) -> None:
    given = await rig.call("IpamDriver.RequestAddress", **POOL, Address="", Options=None)
    await rig.shared.store.txn([], [Put(keys.address(NID, "10.9.0.2"), encode(Address(node="n2")))])
    interface = {"Address": given["Address"], "AddressIPv6": "", "MacAddress": ""}
    await rig.call("NetworkDriver.CreateEndpoint", NetworkID=NET, EndpointID=EID, Interface=interface, Options={})
    assert (await rig.join())["Err"] == "Address already in use"
    assert rig.kernel.veths == {}
    assert await rig.shared.keys(keys.ENDPOINTS) == []
    await rig.call("NetworkDriver.DeleteEndpoint", NetworkID=NET, EndpointID=EID)
    assert rig.state.endpoints == rig.fabric.making == {}


async def test_an_endpoint_made_twice_is_one(rig: Rig) -> None:
    await rig.endpoint()
    interface = {"Address": "10.9.0.2/29", "AddressIPv6": "", "MacAddress": ""}
    again = await rig.call(
        "NetworkDriver.CreateEndpoint", NetworkID=NET, EndpointID=EID, Interface=interface, Options={}
    )
    assert again == {"Interface": {"MacAddress": "02:42:0a:09:00:02"}}
    assert len(rig.state.endpoints) == 1


async def test_a_kernel_that_refuses_leaves_no_record(rig: Rig) -> None:
    rig.kernel.broken = True
    await rig.endpoint()
    assert (await rig.join())["Err"] == "no buffer space"
    assert await rig.shared.keys(keys.ENDPOINTS) == []
    await rig.call("NetworkDriver.DeleteEndpoint", NetworkID=NET, EndpointID=EID)
    assert rig.state.endpoints == rig.fabric.making == {}


async def test_no_process_runs_before_its_endpoint_is_whole(rig: Rig) -> None:
    rig.kernel.slow = asyncio.Event()
    await rig.endpoint()
    joining = asyncio.create_task(rig.join())
    await asyncio.wait({joining}, timeout=0.05)
    assert not joining.done()
    rig.kernel.slow.set()
    assert "Err" not in await joining
    assert rig.kernel.veths.keys() == {EID}
    assert await rig.shared.keys(keys.ENDPOINTS) == [keys.endpoint(NID, EID)]
    assert rig.fabric.making == {}


async def test_an_endpoint_deleted_while_it_is_made_leaves_nothing(rig: Rig) -> None:
    rig.kernel.slow = asyncio.Event()
    await rig.endpoint()
    deleting = asyncio.create_task(rig.call("NetworkDriver.DeleteEndpoint", NetworkID=NET, EndpointID=EID))
    await asyncio.wait({deleting}, timeout=0.05)
    rig.kernel.slow.set()
    assert await deleting == {}
    assert rig.kernel.veths == rig.state.endpoints == rig.fabric.making == {}
    assert await rig.shared.keys(keys.ENDPOINTS) == []
    assert "not found" in (await rig.join())["Err"]


async def test_one_endpoint_of_a_sandbox_has_the_dns_route_and_hands_it_on(rig: Rig) -> None:
    other = "f" * 64
    for each in (EID, other):
        await rig.endpoint(each)
    sandbox = "/run/docker/netns/1"
    first = await rig.call("NetworkDriver.Join", EndpointID=EID, SandboxKey=sandbox)
    second = await rig.call("NetworkDriver.Join", EndpointID=other, SandboxKey=sandbox)
    assert ("StaticRoutes" in first, "StaticRoutes" in second) == (True, False)
    await rig.call("NetworkDriver.Leave", EndpointID=EID)
    assert rig.kernel.moved == [(sandbox, "02:42:0a:09:00:03")]
    third = await rig.call("NetworkDriver.Join", EndpointID=EID, SandboxKey=sandbox)
    assert "StaticRoutes" not in third


@pytest.mark.parametrize("name", ["NetworkDriver.CreateNetwork", "NetworkDriver.Join", "IpamDriver.RequestAddress"])
async def test_a_call_whose_body_was_lost_is_not_guessed(rig: Rig, name: str) -> None:
    reply = await rig.plugin.answer(f"/{name}", b"")
    assert reply == {"Err": "retry lost body", "Error": "retry lost body"}


async def test_a_bad_call_is_answered(rig: Rig) -> None:
    for raw in (b"{", b"[]", b"{}", b'{"NetworkID": 5, "EndpointID": [], "Interface": 1}'):
        reply = await rig.plugin.answer("/NetworkDriver.CreateEndpoint", raw)
        assert reply is not None
        assert reply["Err"]


async def test_a_call_that_hangs_is_ended(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(spec: LocalNetwork) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(plugin_module, "DEADLINE", 0.05)
    monkeypatch.setattr(rig.kernel, "ensure", hang)
    assert "took more than" in (await rig.network())["Err"]


async def test_a_network_of_nobody_is_refused(rig: Rig) -> None:
    reply = await rig.call("NetworkDriver.CreateNetwork", NetworkID="x", Options={}, IPv4Data=[], IPv6Data=[])
    assert "networks are made by the cluster" in reply["Err"]
    pool = await rig.call("IpamDriver.RequestPool", AddressSpace="swplocal", Pool="10.9.0.0/29", Options={})
    assert "swp.id" in pool["Error"]


async def test_the_last_copy_of_a_network_takes_its_devices_along(rig: Rig) -> None:
    assert NID in rig.kernel.open
    await rig.call("NetworkDriver.DeleteNetwork", NetworkID=NET)
    await rig.call("NetworkDriver.DeleteNetwork", NetworkID=NET)
    assert rig.kernel.open == rig.state.networks == {}


async def test_both_pools_of_a_network_give_addresses(rig: Rig) -> None:
    subnets = [Subnet(cidr="10.9.0.0/29", gateway="10.9.0.1"), Subnet(cidr="fd00:9::/64", gateway="fd00:9::1")]
    await rig.shared.put(keys.network(NID), Network(id=NID, name="front", subnets=subnets, ipv6=True))
    six = await rig.call("IpamDriver.RequestAddress", PoolID=f"{NID}/fd00:9::_64", Address="", Options=None)
    assert six["Address"] == "fd00:9::2/64"
    four = await rig.call("IpamDriver.RequestAddress", **POOL, Address="", Options=None)
    interface = {"Address": four["Address"], "AddressIPv6": six["Address"], "MacAddress": ""}
    await rig.call("NetworkDriver.CreateEndpoint", NetworkID=NET, EndpointID=EID, Interface=interface, Options={})
    record = await rig.shared.read(keys.endpoint(NID, EID), Endpoint)
    assert (record.ip, record.ip6) == ("10.9.0.2", "fd00:9::2")
    assert (await rig.shared.read(keys.address(NID, "fd00:9::2"), Address)).endpoint == EID


async def test_while_the_store_is_away_containers_stop_but_do_not_start(rig: Rig) -> None:
    await rig.endpoint()
    rig.shared.cache.lost_since = 1.0
    assert "store is away" in (await rig.endpoint("f" * 64))["Err"]
    assert await rig.call("NetworkDriver.DeleteEndpoint", NetworkID=NET, EndpointID=EID) == {}
    assert rig.kernel.veths == {}
    rig.shared.cache.lost_since = None


async def test_the_socket_speaks_dockers_type(rig: Rig) -> None:
    await rig.plugin.start()
    try:
        assert rig.plugin.path.stat().st_mode & 0o777 == 0o600
        connector = aiohttp.UnixConnector(path=str(rig.plugin.path))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.post("http://p/Plugin.Activate") as answer:
                assert answer.headers["Content-Type"] == "application/vnd.docker.plugins.v1.2+json"
                assert await answer.json(content_type=None) == {"Implements": ["NetworkDriver", "IpamDriver"]}
            async with session.post("http://p/NetworkDriver.AllocateNetwork", data=b"{}") as answer:
                assert answer.status == 404
    finally:
        await rig.plugin.stop()
    assert not rig.plugin.path.exists()


def test_marks_that_are_not_what_they_should_be_count_as_absent() -> None:
    assert Marks.read({"swp.aliases": "[1]", "swp.links": "nonsense", "swp.token": 7, "swp.name": "x"}) == Marks(
        name="x"
    )


async def test_a_wiped_record_does_not_keep_an_endpoint_from_going(rig: Rig) -> None:
    await rig.endpoint()
    await rig.shared.store.txn([], [Delete(keys.endpoint(NID, EID)), Delete(keys.address(NID, "10.9.0.2"))])
    assert await rig.call("NetworkDriver.DeleteEndpoint", NetworkID=NET, EndpointID=EID) == {}
    assert await rig.call("IpamDriver.ReleaseAddress", **POOL, Address="10.9.0.2") == {}


async def test_a_network_that_the_kernel_refuses_is_not_remembered(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.call("NetworkDriver.DeleteNetwork", NetworkID=NET)

    async def refuse(spec: LocalNetwork) -> None:
        raise OSError("VXLAN device with the specified VNI already exists")

    monkeypatch.setattr(rig.kernel, "ensure", refuse)
    assert "already exists" in (await rig.network())["Err"]
    assert rig.state.networks == {}


async def test_a_change_is_written_behind_the_call_and_at_the_end_at_the_latest(rig: Rig, tmp_path: Path) -> None:
    await rig.endpoint()
    await rig.join()
    begun = time.monotonic()
    await rig.fabric.close()
    assert time.monotonic() - begun < fabric_module.BEHIND
    written = State(tmp_path)
    assert written.load() == ""
    assert written.endpoints[EID].sandbox == "/run/docker/netns/1"
