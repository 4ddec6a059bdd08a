"""What a simulated engine sends over HTTP: headers, versions, statuses and an engine's exact words.

The expected values were read off Docker 20.10.24 and 26.1.5.
"""

from __future__ import annotations

import aiohttp
import pytest

from swarmproxy.testing import SimEngine

OLD, NEW = "20.10", "26.1"


async def test_ping_has_the_headers_that_clients_negotiate_by(talk, engine: SimEngine, flavour: str) -> None:
    for method, body in (("GET", "OK"), ("HEAD", "")):
        async with talk.session.request(method, engine.url + "/_ping") as reply:
            assert (reply.status, await reply.text()) == (200, body)
            assert reply.headers["Api-Version"] == {OLD: "1.41", NEW: "1.45"}[flavour]
            assert reply.headers["Ostype"] == "linux"
            assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert ("Builder-Version" in reply.headers) == (flavour == NEW)


async def test_short_json_has_a_length_and_long_json_is_chunked(talk, engine: SimEngine) -> None:
    async with talk.session.get(engine.url + "/volumes") as reply:
        assert reply.headers["Content-Length"] == str(len(await reply.read()))
    async with talk.session.get(engine.url + "/info") as reply:
        assert reply.headers["Transfer-Encoding"] == "chunked"
        assert (await reply.read()).endswith(b"}\n")


@pytest.mark.parametrize("path", ["/v1.99/version", "/v1.99/_ping"])
async def test_newer_versions_are_refused(talk, engine: SimEngine, flavour: str, path: str) -> None:
    status, body = await talk("GET", path)
    most = {OLD: "1.41", NEW: "1.45"}[flavour]
    assert status == 400
    assert body["message"] == f"client version 1.99 is too new. Maximum supported API version is {most}"


async def test_older_versions_are_refused_in_the_flavours_form(talk, engine: SimEngine, flavour: str) -> None:
    async with talk.session.get(engine.url + "/v1.11/version") as reply:
        assert reply.status == 400
        assert reply.content_type == {OLD: "text/plain", NEW: "application/json"}[flavour]
        assert "client version 1.11 is too old." in await reply.text()


@pytest.mark.parametrize(("method", "path"), [("GET", "/foo"), ("POST", "/containers/json"), ("GET", "/containers/")])
async def test_unknown_routes_and_methods_are_404_without_engine_headers(talk, engine, method: str, path: str) -> None:
    async with talk.session.request(method, engine.url + path) as reply:
        assert (reply.status, await reply.json()) == (404, {"message": "page not found"})
        assert "Api-Version" not in reply.headers and "Server" not in reply.headers


async def test_no_content_answers_have_no_body_and_keep_the_connection(engine: SimEngine) -> None:
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.post(engine.url + "/containers/create?name=web", json={"Image": "busybox"}) as reply:
            assert reply.status == 201
        for expected in (204, 304):
            async with session.post(engine.url + "/containers/web/start") as reply:
                assert reply.status == expected
                assert "Content-Length" not in reply.headers and "Content-Type" not in reply.headers
        async with session.get(engine.url + "/_ping") as reply:
            assert await reply.text() == "OK"


BODIES = [
    # sent, words on 20.10; 26.1 has a prefix
    ("bogus", "invalid character 'b' looking for beginning of value"),
    ("{bad}", "invalid character 'b' looking for beginning of object key string"),
    ('{"Image":"busybox"', "unexpected EOF"),
    ("[]", "json: cannot unmarshal array into Go value of type runconfig.ContainerConfigWrapper"),
]


@pytest.mark.parametrize(("sent", "words"), BODIES)
async def test_bad_json_is_500_on_the_old_and_400_on_the_new(talk, engine, flavour: str, sent: str, words: str) -> None:
    headers = {"Content-Type": "application/json"}
    async with talk.session.post(engine.url + "/containers/create", data=sent, headers=headers) as reply:
        message = (await reply.json())["message"]
    expected = (500, words) if flavour == OLD else (400, f"invalid JSON: {words}")
    assert (reply.status, message) == expected


async def test_bytes_after_the_object(talk, engine: SimEngine, flavour: str) -> None:
    headers = {"Content-Type": "application/json"}
    async with talk.session.post(
        engine.url + "/containers/create", data='{"Image":"busybox"} x', headers=headers
    ) as reply:
        assert reply.status == {OLD: 201, NEW: 400}[flavour]


async def test_a_body_that_is_not_declared_json(talk, engine: SimEngine, flavour: str) -> None:
    headers = {"Content-Type": "text/plain"}
    async with talk.session.post(engine.url + "/containers/create", data="{}", headers=headers) as reply:
        message = (await reply.json())["message"]
    assert reply.status == 400
    assert (
        message
        == {
            OLD: "Content-Type specified (text/plain) must be 'application/json'",
            NEW: "unsupported Content-Type header (text/plain): must be 'application/json'",
        }[flavour]
    )


SAME_NAME = "Renaming a container with the same name as its current name"
BAD_NAME = "Invalid container name (a), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
BAD_RENAME = f"Error when allocating new name: {BAD_NAME.replace('(a)', '(/a)')}"
OTHER_PLATFORM = (
    "image with reference busybox was found but does not match the specified platform: "
    "wanted linux/arm64, actual: linux/amd64"
)
PREDEFINED = "operation is not permitted on predefined bridge network "
NOT_JSON = "invalid character 'x' looking for beginning of value"
ERRORS = [
    # method, path, body, 20.10 (status, words), 26.1 (None = the same)
    ("GET", "/containers/zz/json", None, (404, "No such container: zz"), None),
    ("POST", "/containers/zz/wait", None, (404, "No such container: zz"), None),
    (
        "POST",
        "/containers/zz/kill",
        None,
        (404, "Cannot kill container: zz: No such container: zz"),
        (404, "cannot kill container: zz: No such container: zz"),
    ),
    ("GET", "/containers/web/logs", None, (400, "Bad parameters: you must choose at least one stream"), None),
    ("POST", "/containers/web/rename?name=web", None, (400, SAME_NAME), None),
    ("POST", "/containers/web/rename?name=a", None, (400, BAD_RENAME), None),
    ("POST", "/containers/web/rename", None, (400, "Neither old nor new names may be empty"), None),
    ("POST", "/containers/create", {"Image": "nosuch:1"}, (404, "No such image: nosuch:1"), None),
    ("POST", "/containers/create?name=a", {"Image": "busybox"}, (400, BAD_NAME), None),
    (
        "POST",
        "/containers/create",
        {"Image": "UPPER"},
        (400, "invalid reference format: repository name must be lowercase"),
        (400, "invalid reference format: repository name (library/UPPER) must be lowercase"),
    ),
    (
        "POST",
        "/containers/create",
        {},
        (400, "Config cannot be empty in order to create a container"),
        (400, "config cannot be empty in order to create a container"),
    ),
    ("POST", "/containers/create?platform=linux/arm64", {"Image": "busybox"}, (404, OTHER_PLATFORM), None),
    (
        "POST",
        "/v1.41/containers/create",
        {"Image": "busybox", "NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}},
        (400, "Container cannot be connected to network endpoints: a, b"),
        (400, "Container cannot be created with multiple network endpoints: a, b"),
    ),
    ("POST", "/containers/web/exec", {}, (400, "No exec command specified"), None),
    ("GET", "/exec/zz/json", None, (404, "No such exec instance: zz"), None),
    ("POST", "/containers/web/stop?t=abc", None, (500, 'strconv.Atoi: parsing "abc": invalid syntax'), None),
    ("POST", "/containers/web/resize?h=1", None, (400, 'strconv.Atoi: parsing "": invalid syntax'), None),
    (
        "GET",
        "/images/nosuch/json",
        None,
        (404, "no such image: nosuch: No such image: nosuch:latest"),
        (404, "No such image: nosuch:latest"),
    ),
    ("GET", "/images/nosuch/get", None, (404, "No such image: nosuch"), None),
    ("GET", "/volumes/zz", None, (404, "get zz: no such volume"), None),
    ("GET", "/networks/zz", None, (404, "network zz not found"), None),
    ("DELETE", "/networks/bridge", None, (403, "bridge is a pre-defined network and cannot be removed"), None),
    ("POST", "/networks/create", {}, (500, "invalid name: "), (400, "invalid name: ")),
    ("POST", "/networks/create", {"Name": "n", "Driver": "nodrv"}, (404, 'plugin "nodrv" not found'), None),
    ("POST", "/networks/create", {"Name": "bridge"}, (403, PREDEFINED), None),
    ("POST", "/networks/zz/connect", {"Container": "none"}, (404, "No such container: none"), None),
    ("GET", '/containers/json?filters={"x":["1"]}', None, (400, "Invalid filter 'x'"), (400, "invalid filter 'x'")),
    ("GET", "/containers/json?filters=x", None, (500, NOT_JSON), (400, "invalid filter")),
    ("GET", "/events?since=5&until=4", None, (400, "`since` time (5) cannot be after `until` time (4)"), None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "old", "new"), ERRORS)
async def test_refusals_have_an_engines_status_and_words(
    talk, flavour: str, method: str, path: str, body: object, old: tuple[int, str], new: tuple[int, str] | None
) -> None:
    await talk.create("web")
    status, answer = await talk(method, path, body)
    assert (status, answer["message"]) == (old if flavour == OLD else new or old)


async def test_a_list_entry_has_its_status_between_state_and_hostconfig(talk, engine: SimEngine) -> None:
    await talk.run("web", Labels={"k": "v"})
    async with talk.session.get(engine.url + "/containers/json") as reply:
        text = await reply.text()
    assert '"Labels":{"k":"v"},"State":"running","Status":"Up Less than a second","HostConfig":{' in text


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ("", ["c", "b", "a"]),
        ('{"name":["^/a-"]}', ["a"]),
        ('{"label":["tier=x"]}', ["b", "a"]),
        ('{"label":["tier=x","odd"]}', ["a"]),
        ('{"status":["created"]}', ["c"]),
        ('{"status":{"running":true}}', ["b", "a"]),
        ('{"network":["host"]}', ["b"]),
        ('{"ancestor":["nginx:alpine"]}', []),
    ],
)
async def test_list_filters(talk, filters: str, names: list[str]) -> None:
    await talk.run("a-1", Labels={"tier": "x", "odd": ""})
    await talk.run("b-1", Labels={"tier": "x"}, HostConfig={"NetworkMode": "host"})
    await talk.create("c-1")
    _, shown = await talk("GET", f"/containers/json?all=1&filters={filters}")
    assert [item["Names"][0][1:2] for item in shown] == names


async def test_list_by_id_prefix_limit_and_ambiguity(talk, engine: SimEngine, flavour: str) -> None:
    engine.seed(40)
    some = next(iter(engine.containers.values()))
    _, shown = await talk("GET", f'/containers/json?filters={{"id":["{some.id[:20]}"]}}')
    assert [item["Id"] for item in shown] == [some.id]
    assert len((await talk("GET", "/containers/json?limit=3"))[1]) == 3
    shared = next(c for c in "0123456789abcdef" if sum(key.startswith(c) for key in engine.containers) > 1)
    status, answer = await talk("GET", f"/containers/{shared}/json")
    assert status == {OLD: 500, NEW: 400}[flavour]
    assert "IDs found with provided prefix" in answer["message"]


async def test_images_list_follows_the_version(talk, flavour: str) -> None:
    for version, there in (("1.41", True), ("1.45", False)) if flavour == NEW else (("1.41", True),):
        _, shown = await talk("GET", f"/v{version}/images/json")
        assert all(("VirtualSize" in image) == there for image in shown)
    assert {tag for image in shown for tag in image["RepoTags"]} == {"busybox:latest", "nginx:alpine"}


async def test_a_unix_socket_serves_as_well(tmp_path) -> None:
    async with SimEngine(socket=tmp_path / "docker.sock") as engine:
        assert engine.url == f"unix://{tmp_path}/docker.sock"
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "docker.sock"))) as session,
            session.get("http://docker/_ping") as reply,
        ):
            assert reply.status == 200
