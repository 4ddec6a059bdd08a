"""Names: what a container's own resolver answers, on both engine versions."""

from __future__ import annotations

import time

import pytest

from tests.clients.conftest import Place, Sleeper
from tests.shared_lab import Cli, until


@pytest.fixture(autouse=True)
def asker(docker: Cli, sleeper: Sleeper, place: Place) -> str:
    """On the network `front`, with the other containers on another host."""
    docker("network", "create", "front")
    return sleeper("asker", *place.pin, "--network", "front")


def ask(docker: Cli, name: str, kind: str = "a") -> tuple[str, list[str]]:
    """What the asker is told of a name: the kind of answer, and the addresses."""
    said = docker.run("exec", "asker", "nslookup", f"-type={kind}", name, check=False, timeout=20).stdout
    if "NXDOMAIN" in said:
        return "NXDOMAIN", []
    if "can't find" in said or "timed out" in said or "no servers" in said:
        return said, []
    lines = said.partition("\n\n")[2].splitlines()
    return "NOERROR", sorted(line.split()[-1] for line in lines if line.startswith("Address"))


def address(docker: Cli, name: str, network: str = "front") -> str:
    return str(docker.inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"])


def elsewhere(place: Place) -> tuple[str, str]:
    return "-e", f"constraint:node!={place.node}"


def test_every_name_of_a_container(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    container = sleeper(
        "web", *elsewhere(place), "--network", "front", "--network-alias", "www", "--network-alias", "api"
    )
    expected = ("NOERROR", [address(docker, "web")])
    for name in ("web", "www", "api", container[:12], "web.front", "www.front", "WEB", "Web.Front"):
        assert ask(docker, name) == expected, name
    assert ask(docker, "asker") == ("NOERROR", [address(docker, "asker")])


def test_an_alias_of_replicas_has_one_record_each(docker: Cli, on_nodes: Sleeper) -> None:
    names = on_nodes("--network", "front", "--network-alias", "web").split()
    assert ask(docker, "web") == ("NOERROR", sorted(address(docker, name) for name in names))
    tries = "for i in 1 2 3 4 5 6 7 8 9; do nslookup -type=a web | grep -A1 Name: | head -n2; done"
    first = {line for line in docker.lines("exec", "asker", "sh", "-c", tries) if line.startswith("Address")}
    assert len(first) == 3  # each gets its turn
    gone = address(docker, "c2")
    docker("rm", "-f", "c2")
    until(lambda: gone not in ask(docker, "web")[1], "the removed one is gone", 1)
    assert len(ask(docker, "web")[1]) == 2


def test_a_removed_name_is_gone_within_a_second(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("web", *elsewhere(place), "--network", "front")
    assert ask(docker, "web")[0] == "NOERROR"
    docker("rm", "-f", "web")
    until(lambda: ask(docker, "web")[0] == "NXDOMAIN", "the name is gone", 1)


def test_stopped_containers_have_no_name_until_they_start(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("web", *elsewhere(place), "--network", "front", "--network-alias", "www")
    docker("stop", "-t", "1", "web")
    until(lambda: ask(docker, "www")[0] == "NXDOMAIN", "no name when stopped", 1)
    docker("start", "web")
    until(lambda: ask(docker, "www") == ("NOERROR", [address(docker, "web")]), "back again", 1)


def test_no_address_of_the_other_family_is_an_empty_answer(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("web", *elsewhere(place), "--network", "front")
    assert ask(docker, "web", "aaaa") == ("NOERROR", [])
    assert ask(docker, "asker", "aaaa")[1] == []


@pytest.mark.parametrize("name", ["nobody", "nobody.front", "far.example"])
def test_what_nobody_knows_is_denied_at_once(docker: Cli, name: str) -> None:
    begun = time.monotonic()
    assert ask(docker, name) == ("NXDOMAIN", [])
    assert time.monotonic() - begun < 2


def test_rename_moves_the_name(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("before", *elsewhere(place), "--network", "front", "--network-alias", "www")
    docker("rename", "before", "after")
    expected = ("NOERROR", [address(docker, "after")])
    until(lambda: ask(docker, "after") == expected and ask(docker, "before")[0] == "NXDOMAIN", "the name moved", 2)
    assert ask(docker, "www") == expected
    docker("restart", "-t", "1", "after")
    until(lambda: ask(docker, "after")[0] == "NOERROR" and ask(docker, "before")[0] == "NXDOMAIN", "it stays moved", 2)


def test_names_are_those_of_the_networks_one_is_on(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    docker("network", "create", "back")
    sleeper("db", *elsewhere(place), "--network", "back")
    assert ask(docker, "db")[0] == ask(docker, "db.back")[0] == "NXDOMAIN"
    docker("network", "connect", "back", "asker")
    until(lambda: ask(docker, "db") == ("NOERROR", [address(docker, "db", "back")]), "seen after connect", 2)
    docker("network", "disconnect", "back", "asker")
    until(lambda: ask(docker, "db")[0] == "NXDOMAIN", "unseen after disconnect", 2)


def test_links_are_names_for_the_one_who_asked_for_them(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("db", *elsewhere(place), "--network", "front")
    sleeper("linked", *place.pin, "--network", "front", "--link", "db:database")
    assert docker.run("exec", "linked", "ping", "-c", "1", "-W", "2", "database", check=False).returncode == 0
    assert ask(docker, "database")[0] == "NXDOMAIN"
    assert docker.inspect("linked")["NetworkSettings"]["Networks"]["front"]["Links"] == ["db:database"]
