from __future__ import annotations

from typing import Any

import msgspec

from swarmproxy.api import rewrite
from swarmproxy.lifecycle.body import dress_endpoint, tree
from swarmproxy.model import options

PLACE = rewrite.Place(id="N1", name="node-1", ip="10.0.0.1", address="10.0.0.1:2375", cpus=2, memory=5)
LOCAL, CLUSTER = "1" * 64, "2" * 64


def dressed(**endpoint: object) -> Any:
    raw = tree(msgspec.json.encode(endpoint))
    return msgspec.json.decode(msgspec.json.encode(dress_endpoint(raw, token="t", name="web", links={})))


def listed(item: dict[str, object]) -> Any:
    parsed = tree(msgspec.json.encode(item))
    rewrite.list_item(parsed, PLACE)
    return msgspec.json.decode(msgspec.json.encode(parsed))


def test_a_list_entry_loses_our_marks_and_tells_the_node() -> None:
    got = listed(
        {
            "Id": "a" * 64,
            "Labels": {"mine": "1", options.LABEL_TOKEN: "t"},
            "Unknown": {"x": 1},
            "NetworkSettings": {"Networks": {"n": dressed(NetworkID=LOCAL, DriverOpts={"user": "1"})}},
        }
    )
    assert got["Labels"] == {"mine": "1", "swarmproxy.node": "node-1"}
    assert got["Unknown"] == {"x": 1}
    assert got["NetworkSettings"]["Networks"]["n"] == {"NetworkID": LOCAL, "DriverOpts": {"user": "1"}}


def test_published_ports_show_the_nodes_address_once() -> None:
    got = listed(
        {
            "Ports": [
                {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                {"IP": "127.0.0.1", "PrivatePort": 81, "PublicPort": 8081, "Type": "tcp"},
                {"PrivatePort": 90, "Type": "tcp"},
            ]
        }
    )
    assert got["Ports"] == [
        {"IP": "10.0.0.1", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"IP": "127.0.0.1", "PrivatePort": 81, "PublicPort": 8081, "Type": "tcp"},
        {"PrivatePort": 90, "Type": "tcp"},
    ]


def inspected(**body: object) -> Any:
    raw = msgspec.json.encode({"Id": "ab" * 32, "Name": "/web", **body})
    return msgspec.json.decode(rewrite.inspect(raw, PLACE, shown_name="node-1/web"))


def test_inspect_gives_back_what_the_client_wrote() -> None:
    endpoint = dressed(Aliases=["a", "b"], Links=["db:database"], NetworkID=CLUSTER)
    endpoint["Aliases"] = ["abababababab"]  # what an engine adds by itself
    got = inspected(
        Config={"Labels": {options.LABEL_DNS: '["1.1.1.1"]', "mine": "1"}},
        HostConfig={"Dns": [options.DNS_ADDRESS, "1.1.1.1"], "NetworkMode": CLUSTER, "New": 1},
        NetworkSettings={"Networks": {"n": endpoint}, "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "1"}]}},
    )
    assert got["Name"] == "/node-1/web"
    assert got["Config"]["Labels"] == {"mine": "1"}
    assert got["HostConfig"] == {"Dns": ["1.1.1.1"], "NetworkMode": CLUSTER, "New": 1}
    network = got["NetworkSettings"]["Networks"]["n"]
    assert network["Aliases"] == ["a", "b", "abababababab"]
    assert network["Links"] == ["db:database"]
    assert network["DriverOpts"] is None
    assert network["NetworkID"] == CLUSTER
    assert got["NetworkSettings"]["Ports"] == {"80/tcp": [{"HostIp": "10.0.0.1", "HostPort": "1"}]}
    assert got["Node"]["Name"] == "node-1"


def test_aliases_stand_among_the_dns_names_of_newer_engines() -> None:
    endpoint = dressed(Aliases=["a"], NetworkID=LOCAL)
    endpoint.update(Aliases=None, DNSNames=["web", "abababababab"])
    network = inspected(NetworkSettings={"Networks": {"n": endpoint}})["NetworkSettings"]["Networks"]["n"]
    assert network["DNSNames"] == ["web", "a", "abababababab"]


def test_a_client_without_dns_reads_null_again() -> None:
    got = inspected(
        Config={"Labels": {options.LABEL_DNS: "null"}}, HostConfig={"Dns": [options.DNS_ADDRESS]}, NetworkSettings=None
    )
    assert got["HostConfig"]["Dns"] is None
