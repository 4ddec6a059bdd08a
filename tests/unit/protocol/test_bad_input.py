"""Requests that cannot be: the newer engine's status and words, and nothing left in the store or on an engine."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.protocol.pair import Pair, Reply

EVERYTHING = ("names/", "alloc/", "networks/", "netnames/", "vni/", "subnets/", "netnodes/", "volumes/")
IMAGE = {"Image": "busybox:latest"}
CREATE, NETWORK, VOLUME = "/containers/create?name=bad", "/networks/create", "/volumes/create"


def host(**settings: Any) -> dict[str, Any]:
    return {**IMAGE, "HostConfig": settings}


def ipam(**config: str) -> dict[str, Any]:
    return {"Name": "net", "IPAM": {"Config": [config]}}


CASES: tuple[tuple[str, str, Any, int, str], ...] = (
    ("POST", CREATE, b"", 400, "invalid JSON: got EOF while reading request body"),
    ("POST", CREATE, b"{", 400, "invalid JSON: unexpected EOF"),
    ("POST", CREATE, b"{bad", 400, "invalid JSON: invalid character 'b' looking for beginning of object key string"),
    ("POST", CREATE, b'{"Image": "busybox"} {}', 400, "unexpected content after JSON"),
    ("POST", CREATE, b"[]", 400, "invalid JSON: json: cannot unmarshal array into Go "),
    ("POST", CREATE, {}, 400, "config cannot be empty in order to create a container"),
    ("POST", CREATE, {"Image": ""}, 400, "no command specified"),
    ("POST", CREATE, {"Image": 5}, 400, "invalid JSON: json: cannot unmarshal number into Go struct field "),
    ("POST", CREATE, host(Memory="1g"), 400, "invalid JSON: json: cannot unmarshal string into Go struct field "),
    ("POST", CREATE, {"Image": "nosuch"}, 404, "No such image: nosuch:latest"),
    ("POST", CREATE, {"Image": "Upper"}, 400, "invalid reference format: repository name (library/Upper) must be "),
    ("POST", "/containers/create?name=a", IMAGE, 400, "Invalid container name (a), only "),
    ("POST", CREATE, host(Binds=["a/b:/x"]), 400, 'create a/b: "a/b" includes invalid characters for a local volume '),
    ("POST", CREATE, host(VolumesFrom=["nobody"]), 400, "No such container: nobody"),
    ("POST", CREATE, host(Links=["nobody:x"]), 400, "could not get container for nobody: No such container: nobody"),
    ("POST", CREATE, host(IpcMode="container:nobody"), 400, "No such container: nobody"),
    ("POST", CREATE, {**IMAGE, "Env": ["constraint:node"]}, 400, ""),
    ("POST", CREATE, {**IMAGE, "Env": ["reschedule:never"]}, 400, "invalid reschedule policy: never"),
    ("POST", CREATE, {**IMAGE, "Env": ["constraint:disk==ssd"]}, 500, "Unable to find a node that satisfies the "),
    ("POST", CREATE, host(Memory=1 << 50), 500, "no resources available to schedule container\nnode-1: "),
    ("POST", "/commit", None, 400, 'invalid name or ID supplied: ""'),
    ("POST", "/commit?container=nobody", None, 404, "No such container: nobody"),
    ("POST", "/containers/nobody/kill", None, 404, "cannot kill container: nobody: No such container: nobody"),
    ("POST", "/containers/nobody/start", None, 404, "No such container: nobody"),
    ("GET", f"/containers/{'0' * 64}/json", None, 404, f"No such container: {'0' * 64}"),
    ("GET", f"/exec/{'0' * 64}/json", None, 404, f"No such exec instance: {'0' * 64}"),
    ("POST", NETWORK, b"{bad", 400, "invalid JSON: invalid character 'b'"),
    ("POST", NETWORK, {}, 400, "invalid name: "),
    ("POST", NETWORK, {"Name": "bridge"}, 403, "operation is not permitted on predefined bridge network"),
    ("POST", NETWORK, {"Name": "net", "Driver": "nosuch"}, 404, 'plugin "nosuch" not found'),
    ("POST", NETWORK, {"Name": "net", "Driver": "host"}, 403, 'only one instance of "host" network is allowed'),
    ("POST", NETWORK, {"Name": "net", "Driver": "null"}, 403, 'only one instance of "null" network is allowed'),
    ("POST", NETWORK, {"Name": "net", "Scope": "swarm"}, 403, "cannot create a swarm scoped network when "),
    ("POST", NETWORK, {"Name": "net", "Ingress": True}, 403, "Ingress network can only be global scope network"),
    ("POST", NETWORK, {"Name": "net", "ConfigFrom": {"Network": "x"}}, 404, 'configuration network "x" does not exist'),
    ("POST", NETWORK, {"Name": "net", "IPAM": {"Driver": "nosuch"}}, 404, 'plugin "nosuch" not found'),
    ("POST", NETWORK, ipam(Subnet="mars"), 400, "invalid network config:\ninvalid subnet mars: "),
    ("POST", NETWORK, ipam(Subnet="10.9.0.0/24", Gateway="10.8.0.1"), 400, "invalid network config:\ninvalid gateway "),
    ("GET", "/networks/nobody", None, 404, "network nobody not found"),
    ("DELETE", "/networks/nobody", None, 404, "network nobody not found"),
    ("DELETE", "/networks/host", None, 403, "host is a pre-defined network and cannot be removed"),
    ("POST", "/networks/nobody/connect", {"Container": "nobody"}, 404, "No such container: nobody"),
    ("POST", "/networks/nobody/connect", {}, 400, 'invalid name or ID supplied: ""'),
    ("POST", "/networks/host/disconnect", {"Container": "nobody", "Force": True}, 404, "endpoint nobody not found"),
    ("POST", VOLUME, {"Name": "a/b"}, 400, 'create a/b: "a/b" includes invalid characters for a local volume name'),
    ("POST", VOLUME, {"Name": "a"}, 400, "create a: volume name is too short, names should be at least two "),
    ("POST", VOLUME, {"Name": "vol", "Driver": "nosuch"}, 404, "create vol: error looking up volume plugin nosuch: "),
    ("POST", VOLUME, {"Name": "vol", "DriverOpts": {"x": "y"}}, 400, 'create vol: invalid option: "x"'),
    ("POST", VOLUME, {"Name": "vol", "DriverOpts": {"o": "y"}}, 400, 'create vol: missing required option: "device"'),
    ("GET", "/volumes/nobody", None, 404, "get nobody: no such volume"),
    ("DELETE", "/volumes/nobody", None, 404, "get nobody: no such volume"),
    ("GET", '/containers/json?filters={"status":["x"]}', None, 400, "invalid filter 'status=x'"),
    ("GET", '/containers/json?filters={"health":["x"]}', None, 400, "unrecognized filter value for health: x"),
    ("GET", '/containers/json?filters={"colour":["x"]}', None, 400, "invalid filter 'colour'"),
    ("GET", "/containers/json?filters=bad", None, 400, "invalid filter"),
    ("GET", "/images/nosuch/json", None, 404, "No such image: nosuch:latest"),
    ("DELETE", "/images/nosuch", None, 404, "No such image: nosuch:latest"),
    ("GET", "/v1.23/containers/json", None, 400, "client version 1.23 is too old. Minimum supported API "),
    ("GET", "/v1.99/containers/json", None, 400, "client version 1.99 is too new. Maximum supported API "),
    ("GET", "/nothing", None, 404, "page not found"),
    ("PUT", "/containers/json", None, 404, "page not found"),
    ("GET", "/containers/json/", None, 404, "page not found"),
)  # fmt: skip


async def left(pair: Pair) -> list[str]:
    """Keys in the store, containers on the engines."""
    return [*await pair.stored(*EVERYTHING), *(name for held in pair.containers().values() for name in held.values())]


async def test_each_is_refused_and_leaves_nothing(pair: Pair) -> None:
    odd: list[Any] = []
    for method, path, body, status, words in CASES:
        for proxy in (1, 2):
            refused = await pair.ask(method, path, body, to=proxy)
            if refused.status != status or not refused.message.startswith(words):
                odd.append((method, path, body, refused))
            if held := await left(pair):
                odd.append((method, path, body, held))
    assert not odd, odd


async def test_a_refusal_says_of_every_node_why(pair: Pair) -> None:
    assert (await pair.create("one", Env=["constraint:node==node-1"], **PORT)).status == 201
    refused = await pair.create("two", Env=["constraint:node!=node-2"], **PORT)
    assert refused.status == 500
    assert refused.message.splitlines()[-2:] == [
        "node-1: port 8080/tcp is taken by one",
        "node-2: constraint node!=node-2 does not hold: node is node-2",
    ]


PORT: dict[str, Any] = {
    "ExposedPorts": {"80/tcp": {}},
    "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}},
}


async def test_a_taken_name_is_said_before_a_taken_port(pair: Pair) -> None:
    """As on one engine, where the port is looked at when the container starts."""
    made = await pair.create("one", Env=["constraint:node==node-1"], **PORT)
    for proxy in (1, 2):
        taken = await pair.create("one", to=proxy, Env=["constraint:node==node-1"], **PORT)
        assert (taken.status, f'in use by container "{made.body["Id"]}"' in taken.message) == (409, True), taken.body
    await pair.in_order()


async def test_names_are_taken_on_all_nodes_and_through_all_proxies(pair: Pair) -> None:
    await pair.create("one", Env=["constraint:node==node-1"])
    two = await pair.create("two", to=2, Env=["constraint:node==node-2"])
    refused = await pair.ask("POST", "/containers/one/rename", to=2, name="two")
    assert refused.status == 409
    assert refused.message.startswith('Error when allocating new name: Conflict. The container name "/two" is already')
    assert two.body["Id"] in refused.message
    assert set(await pair.stored("names/")) == {"names/one", "names/two"}
    await pair.ask("POST", NETWORK, {"Name": "net"})
    taken = await pair.ask("POST", NETWORK, {"Name": "net"}, to=2)
    assert (taken.status, taken.message) == (409, "network with name net already exists")
    overlap = await pair.ask(
        "POST", NETWORK, {"Name": "two", "IPAM": {"Config": [{"Subnet": await subnet(pair)}]}}, to=2
    )
    assert (overlap.status, overlap.message) == (403, "Pool overlaps with other one on this address space")


async def subnet(pair: Pair) -> str:
    return str((await pair.ask("GET", "/networks/net")).body["IPAM"]["Config"][0]["Subnet"])


async def test_a_prefix_that_two_nodes_know(pair: Pair) -> None:
    made: list[str] = []
    while len({one[0] for one in made}) == len(made):
        made.append((await pair.create(f"c{len(made)}")).body["Id"])
    prefix = made[-1][0]
    for proxy in (1, 2):
        refused = await pair.ask("GET", f"/containers/{prefix}/json", to=proxy)
        assert (refused.status, refused.message) == (400, f"multiple IDs found with provided prefix: {prefix}")


@pytest.mark.parametrize("node", [1, 2])
async def test_several_networks_from_a_client_that_does_not_know_how(pair: Pair, node: int) -> None:
    """One answer, wherever the container is placed: an engine of 26.1 would refuse it in an older version's name."""
    await pair.ask("POST", NETWORK, {"Name": "front"})
    endpoints = {"EndpointsConfig": {"front": {}, "bridge": {}}}
    body = {**IMAGE, "Env": [f"constraint:node==node-{node}"], "NetworkingConfig": endpoints}
    made = await pair.ask(
        "POST", "/v1.41/containers/create?name=both", {**body, "HostConfig": {"NetworkMode": "front"}}
    )
    assert made.status == 201, made.body
    shown: Reply = await pair.ask("GET", "/containers/both/json", to=2)
    assert set(shown.body["NetworkSettings"]["Networks"]) == {"front", "bridge"}


async def test_an_engines_refusal_leaves_nothing(pair: Pair) -> None:
    """Its words, its status, and which node it was."""
    for number, engine in enumerate(pair.engines, 1):
        engine.fail("POST", "/containers/create", status=400, message="invalid CPU shares")
        refused = await pair.create("web", Env=[f"constraint:node==node-{number}"], HostConfig={"Binds": ["data:/d"]})
        assert (refused.status, refused.message) == (400, f"invalid CPU shares (node-{number})")
        engine.fail("POST", "/networks/create", status=500, message="no more namespaces")
        await pair.ask("POST", NETWORK, {"Name": "net"})
        pinned = {"Env": [f"constraint:node==node-{number}"], "HostConfig": {"NetworkMode": "net"}}
        refused = await pair.create("web", **pinned)
        assert (refused.status, refused.message) == (500, f"no more namespaces (node-{number})")
        assert (await pair.ask("DELETE", "/networks/net")).status == 204
        assert not await left(pair)
