"""Bad requests, byte for byte: the newer engine's status and words, from either proxy, and nothing left behind."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator

import pytest

from swarmproxy.lab import Lab
from tests.clients.conftest import Sleeper
from tests.shared_lab import Cli, Etcd

JSON = "application/json"
CREATE, NETWORK, VOLUME = "/v1.41/containers/create", "/v1.41/networks/create", "/v1.41/volumes/create"
RUN = '"Image": "busybox", "Env": ["constraint:node==node-3"]'
"""Begins a body; what an older engine would say instead is not the question."""


def ask(address: str, method: str, path: str, body: str = "", kind: str = JSON) -> tuple[int, str]:
    """Status and message, as one line and without what differs from object to object."""
    connection = http.client.HTTPConnection(address, timeout=20)
    headers = {"Content-Type": kind} if body and kind else {}
    connection.request(method, path, body or None, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    if answer.getheader("Content-Type", "").startswith(JSON) and text.startswith("{"):
        text = json.loads(text).get("message", text)
    return answer.status, re.sub(r"[0-9a-f]{64}", "ID", text.strip())


@pytest.fixture
def addresses(lab: Lab) -> tuple[str, ...]:
    """host:port of the newer engine, then of the proxies."""
    return (f"{lab.node(3).address}:2375", *(url.removeprefix("tcp://") for url in lab.proxy_urls))


@pytest.fixture(autouse=True)
def nothing_is_left(docker: Cli, etcd: Etcd, lab: Lab) -> Iterator[None]:
    yield
    left = [name for name in docker.lines("ps", "-a", "--format", "{{.Names}}") if name != "here"]
    held = [key for key in etcd.under("names/") if key != "names/here"]
    assert (left, held, docker.lines("volume", "ls", "-q")) == ([], [], [])


def body(more: str = "") -> str:
    return "{" + ", ".join(filter(None, (RUN, more))) + "}"


def host(settings: str) -> str:
    return body('"HostConfig": {' + settings + "}")


def ipam(config: str) -> str:
    return '{"Name": "n1", "IPAM": {"Config": [{' + config + "}]}}"


CASES = (
    # what                             method, path, body
    ("no JSON",                        "POST", CREATE, "{bad"),
    ("half of it",                     "POST", CREATE, '{"Image": "busy'),
    ("more than one value",            "POST", CREATE, body() + " {}"),
    ("empty object",                   "POST", CREATE, "{}"),
    ("null",                           "POST", CREATE, "null"),
    ("a list",                         "POST", CREATE, "[]"),
    ("an empty image",                 "POST", CREATE, '{"Image": "", "Env": ["A=b"]}'),
    ("image of the wrong type",        "POST", CREATE, '{"Image": 7}'),
    ("labels of the wrong type",       "POST", CREATE, body('"Labels": ["a"]')),
    ("memory of the wrong type",       "POST", CREATE, host('"Memory": "much"')),
    ("unknown image",                  "POST", CREATE, '{"Image": "nosuch:1"}'),
    ("bad image reference",            "POST", CREATE, '{"Image": "Upper/Case:1"}'),
    ("bad name",                       "POST", CREATE + "?name=a/b", body()),
    ("short name",                     "POST", CREATE + "?name=a", body()),
    ("too little memory",              "POST", CREATE, host('"Memory": 1024')),
    ("bad bind",                       "POST", CREATE, host('"Binds": ["a/b:/d"]')),
    ("relative target",                "POST", CREATE, host('"Binds": ["/a:d"]')),
    ("bad port",                       "POST", CREATE, host('"PortBindings": {"x/tcp": [{"HostPort": "1"}]}')),
    ("volumes from nobody",            "POST", CREATE, host('"VolumesFrom": ["nobody"]')),
    ("link to nobody",                 "POST", CREATE, host('"Links": ["nobody:x"]')),
    ("bad restart policy",             "POST", CREATE, host('"RestartPolicy": {"Name": "often"}')),
    ("unknown container",              "GET", "/v1.41/containers/nobody/json", ""),
    ("unknown id",                     "GET", f"/v1.41/containers/{'ab' * 32}/json", ""),
    ("unknown exec",                   "GET", f"/v1.41/exec/{'ab' * 32}/json", ""),
    ("unknown image to look at",       "GET", "/v1.41/images/nosuch:1/json", ""),
    ("unknown network",                "GET", "/v1.41/networks/nosuch", ""),
    ("unknown volume",                 "GET", "/v1.41/volumes/nosuch", ""),
    ("unknown container to remove",    "DELETE", "/v1.41/containers/nobody", ""),
    ("unknown condition",              "POST", "/v1.41/containers/here/wait?condition=bored", ""),
    ("logs of no stream",              "GET", "/v1.41/containers/here/logs", ""),
    ("archive without path",           "GET", "/v1.41/containers/here/archive", ""),
    ("archive of nothing",             "GET", "/v1.41/containers/here/archive?path=/nothing", ""),
    ("archive into nothing",           "PUT", "/v1.41/containers/here/archive?path=/nothing", ""),
    ("exec of nothing",                "POST", "/v1.41/containers/here/exec", "{}"),
    ("exec of no JSON",                "POST", "/v1.41/containers/here/exec", "{bad"),
    ("rename to nothing",              "POST", "/v1.41/containers/here/rename?name=", ""),
    ("rename to itself",               "POST", "/v1.41/containers/here/rename?name=here", ""),
    ("rename to no name",              "POST", "/v1.41/containers/here/rename?name=a/b", ""),
    ("unpause of a running one",       "POST", "/v1.41/containers/here/unpause", ""),
    ("kill by no signal",              "POST", "/v1.41/containers/here/kill?signal=NONE", ""),
    ("rm of a running one",            "DELETE", "/v1.41/containers/here", ""),
    ("start with a body",              "POST", "/v1.41/containers/here/start", '{"a": 1}'),
    ("resize without size",            "POST", "/v1.41/containers/here/resize", ""),
    ("network without name",           "POST", NETWORK, "{}"),
    ("network of no JSON",             "POST", NETWORK, "{bad"),
    ("network of a taken name",        "POST", NETWORK, '{"Name": "bridge"}'),
    ("network of a bad subnet",        "POST", NETWORK, ipam('"Subnet": "mars"')),
    ("gateway that is none",           "POST", NETWORK, ipam('"Subnet": "10.9.0.0/24", "Gateway": "mars"')),
    ("gateway of another subnet",      "POST", NETWORK, ipam('"Subnet": "10.9.0.0/24", "Gateway": "10.8.0.1"')),
    ("gateway without a subnet",       "POST", NETWORK, ipam('"Gateway": "10.8.0.1"')),
    ("range of another subnet",        "POST", NETWORK, ipam('"Subnet": "10.9.0.0/24", "IPRange": "10.8.0.0/25"')),
    ("volume of no JSON",              "POST", VOLUME, "{bad"),
    ("volume of a bad name",           "POST", VOLUME, '{"Name": "a/b"}'),
    ("filters of no JSON",             "GET", "/v1.41/containers/json?filters=bad", ""),
    ("filters of the wrong type",      "GET", '/v1.41/containers/json?filters={"status":"running"}', ""),
    ("an unknown filter",              "GET", '/v1.41/networks?filters={"colour":["blue"]}', ""),
    ("limit of no number",             "GET", "/v1.41/containers/json?limit=x", ""),
    ("too new a version",              "GET", "/v1.99/containers/json", ""),
    ("an unknown route",               "GET", "/v1.41/nothing", ""),
    ("a wrong method",                 "PUT", "/v1.41/containers/json", ""),
    ("a path from nowhere",            "GET", "/", ""),
    ("a service of a swarm",           "GET", "/v1.41/services", ""),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_as_the_newer_engine_refuses_it(
    sleeper: Sleeper, addresses: tuple[str, ...], case: tuple[str, str, str, str]
) -> None:
    _, method, path, content = case
    if "/here" in path:
        sleeper("here", "-e", "constraint:node==node-3")
    path = path.replace('"', "%22").replace("{", "%7B").replace("}", "%7D")
    theirs, *ours = (ask(address, method, path, content) for address in addresses)
    for status, message in ours:
        assert (status, comparable(message)) == (theirs[0], comparable(theirs[1]))


def comparable(message: str) -> str:
    """Without the node, and without what is each program's own: names of its types, the newest version it has."""
    message = re.sub(r" \(node-\d\)$", "", message)
    message = re.sub(r" into Go (value|struct field) .*", " into …", message)
    return re.sub(r"1\.4[15]", "…", message)


def test_another_content_type(addresses: tuple[str, ...]) -> None:
    theirs, *ours = (ask(address, "POST", CREATE, body(), "text/plain") for address in addresses)
    assert ours == [theirs, theirs]


def test_an_ambiguous_prefix_is_one_over_all_hosts(docker: Cli, addresses: tuple[str, ...]) -> None:
    """Seventeen ids have two that begin alike, wherever they are."""
    ids = [docker("create", "busybox").strip() for _ in range(17)]
    first = next(one[0] for one in ids if sum(other[0] == one[0] for other in ids) > 1)
    for address in addresses[1:]:
        answer = ask(address, "GET", f"/v1.41/containers/{first}/json")
        assert answer == (400, f"multiple IDs found with provided prefix: {first}")
    docker("rm", *ids)
