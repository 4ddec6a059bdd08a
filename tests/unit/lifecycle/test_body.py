from __future__ import annotations

import msgspec
import pytest

from swarmproxy.lifecycle.body import CreateBody, dress_endpoint, link_names, tree
from swarmproxy.model import options
from swarmproxy.model.errors import BadRequest


def opened(**fields: object) -> CreateBody:
    return CreateBody(msgspec.json.encode(fields))


def test_unknown_fields_pass_untouched() -> None:
    sent = {"Image": "busybox", "Future": {"deep": [1, None]}, "HostConfig": {"AlsoNew": 1.5, "Memory": 5}}
    body = opened(**sent)
    body.set_labels({"swarmproxy.token": "t"})
    got = msgspec.json.decode(body.encode())
    assert got.pop("Labels") == {"swarmproxy.token": "t"}
    assert got == sent


def test_keys_match_whatever_their_case() -> None:
    body = CreateBody(b'{"image":"x","hostconfig":{"networkmode":"n1"}}')
    assert body.shape.Image == "x"
    assert body.network_mode == "n1"


def test_a_client_cannot_forge_our_labels() -> None:
    body = opened(Image="x", Labels={"swarmproxy.token": "stolen", "swarmproxy.other": "1", "mine": "2"})
    body.set_labels({"swarmproxy.token": "real"})
    assert msgspec.json.decode(body.encode())["Labels"] == {"mine": "2", "swarmproxy.token": "real"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{bad", "invalid JSON"),
        (b"[]", "invalid JSON: json: cannot unmarshal array into Go struct field ContainerConfigWrapper of type map"),
        (b'{"Image":5}', "cannot unmarshal number into Go struct field ContainerConfigWrapper.Image of type string"),
        (b'{"HostConfig":{"Binds":"x"}}', "cannot unmarshal string"),
        (b"{}", "config cannot be empty in order to create a container"),
        (b"null", "config cannot be empty in order to create a container"),
    ],
)
def test_faults_are_told_as_an_engine_tells_them(data: bytes, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        CreateBody(data)
    assert message in caught.value.message


def test_nulls_are_absent() -> None:
    body = CreateBody(b'{"Image":"x","Env":null,"Labels":null,"HostConfig":null,"NetworkingConfig":null}')
    assert body.network_mode == "default"
    assert body.labels == {}


def test_named_volumes() -> None:
    body = opened(
        Image="x",
        HostConfig={
            "Binds": ["data:/d", "/etc:/e:ro", "data:/again", "other:/o:ro"],
            "Mounts": [
                {"Type": "volume", "Source": "m", "Target": "/m"},
                {"Type": "bind", "Source": "/x"},
                {"Type": "volume"},
            ],
        },
    )
    assert body.named_volumes() == ["data", "other", "m"]


def test_aliases_and_links_travel_in_driver_options() -> None:
    endpoint = tree(b'{"Aliases":["web"],"Links":["db:database"],"IPAMConfig":{"IPv4Address":"10.0.0.9"},"X":1}')
    got = msgspec.json.decode(msgspec.json.encode(dress_endpoint(endpoint, token="t", name="n", links={"c": "cache"})))
    marks = got.pop("DriverOpts")
    assert got == {"Aliases": [], "Links": [], "IPAMConfig": {"IPv4Address": "10.0.0.9"}, "X": 1}
    assert marks[options.ENDPOINT_TOKEN] == "t"
    assert marks[options.ENDPOINT_NAME] == "n"
    assert msgspec.json.decode(marks[options.ENDPOINT_ALIASES]) == ["web"]
    assert msgspec.json.decode(marks[options.ENDPOINT_LINKS]) == {"c": "cache", "database": "db"}


def test_link_names() -> None:
    assert link_names(["db:database", "/cache", "a:/x/b"]) == {"database": "db", "cache": "cache", "b": "a"}
