from __future__ import annotations

import pytest

from swarmproxy.api.body import check_json, check_type
from swarmproxy.api.query import Query
from swarmproxy.api.versions import Versions, lower, split
from swarmproxy.model.errors import BadRequest


@pytest.mark.parametrize("good", [b"{}", b" null\n", b'[1,{"a":"b\\u00e9"}]', b'"x"'])
def test_json_is_taken(good: bytes) -> None:
    check_json(good)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"", "invalid JSON: got EOF while reading request body"),
        (b" \n", "invalid JSON: got EOF while reading request body"),
        (b"{b}", "invalid JSON: invalid character 'b' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid JSON: invalid character '1' after object key"),
        (b'{"a":1 "b"}', "invalid JSON: invalid character '\"' after object key:value pair"),
        (b'[{"x":"]"} 2]', "invalid JSON: invalid character '2' after array element"),
        (b'{"a":}', "invalid JSON: invalid character '}' looking for beginning of value"),
        (b'{"a":tru}', "invalid JSON: invalid character '}' in literal true (expecting 'e')"),
        (b"nope", "invalid JSON: invalid character 'o' in literal null (expecting 'u')"),
        (b'{"a":1,}', "invalid JSON: invalid character '}' looking for beginning of object key string"),
        (b'"a\nb"', "invalid JSON: invalid character '\\n' in string literal"),
        (b'"\\q"', "invalid JSON: invalid character 'q' in string escape code"),
        (b'{"a":', "invalid JSON: unexpected EOF"),
        (b'{"a":"b', "invalid JSON: unexpected EOF"),
        (b"tr", "invalid JSON: unexpected EOF"),
        (b"{} {}", "unexpected content after JSON"),
    ],
)
def test_what_is_wrong_is_said_as_the_engine_says_it(bad: bytes, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_json(bad)
    assert str(caught.value) == words


def test_content_types() -> None:
    check_type("application/json")
    check_type("Application/JSON; charset=utf-8")
    with pytest.raises(BadRequest, match="unsupported Content-Type header"):
        check_type("text/plain")


def test_a_querys_first_value_counts() -> None:
    query = Query("a=1&a=2&empty&x=%2F+y&all=False")
    assert (query.get("a"), query.all("a"), query.get("x"), query.get("none", "-")) == ("1", ["1", "2"], "/ y", "-")
    assert "empty" in query
    assert "none" not in query
    assert query.raw == "a=1&a=2&empty&x=%2F+y&all=False"


@pytest.mark.parametrize(
    ("text", "value"),
    [("", False), ("0", False), ("no", False), ("FALSE", False), ("None", False), ("1", True), ("x", True)],
)
def test_booleans_are_dockers(text: str, value: bool) -> None:
    assert Query(f"all={text}").flag("all") is value
    assert Query("").flag("all", default=True) is True


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1.41/info", ("1.41", "/info")),
        ("/v1.41.0/info", ("1.41.0", "/info")),
        ("/v1.41", ("1.41", "")),
        ("/info", ("", "/info")),
        ("/volumes", ("", "/volumes")),
        ("/v/x", ("", "/v/x")),
        ("/V1.41/info", ("", "/V1.41/info")),
    ],
)
def test_a_path_may_lead_with_a_version(path: str, expected: tuple[str, str]) -> None:
    assert split(path) == expected


def test_versions_follow_the_members() -> None:
    versions = Versions()
    versions.check("1.41")
    with pytest.raises(BadRequest):
        versions.check("1.42")
    versions.follow(["1.45", "", "1.43.0"])
    assert (versions.advertised, versions.newest) == ("1.43.0", "1.45")
    versions.check("1.45")
    versions.follow([])
    assert versions.advertised == "1.43.0"
    versions.follow(["1.41"])
    with pytest.raises(BadRequest, match="too new"):
        versions.check("1.45")
    assert lower("1.9", "1.10") == "1.9"
    assert lower("", "1.10") == "1.10"
