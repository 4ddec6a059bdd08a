"""Volumes: a record first, a place with the first container; from then on containers follow the data."""

from __future__ import annotations

import pytest

from swarmproxy.lab import Lab
from tests.clients.conftest import Place, Sleeper
from tests.conftest import EngineCli
from tests.shared_lab import Cli, Etcd, until


def node_of(docker: Cli, container: str) -> str:
    return str(docker.inspect(container)["Node"]["Name"])


def holders(lab: Lab, engine: EngineCli, name: str) -> list[str]:
    return [n.name for n in lab.nodes if engine(n.target.number).lines("volume", "ls", "-qf", f"name=^{name}$")]


@pytest.mark.parametrize("made", [True, False], ids=["made before", "made by the run"])
def test_containers_follow_their_volume(
    docker: Cli, place: Place, lab: Lab, engine: EngineCli, sleeper: Sleeper, made: bool
) -> None:
    if made:
        assert docker("volume", "create", "data") == "data\n"
        assert holders(lab, engine, "data") == []
    docker("run", "--rm", *place.pin, "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/file")
    assert holders(lab, engine, "data") == [place.node]
    for number in range(4):
        sleeper(f"other{number}")  # elsewhere, were it not for the volume
    for form in (("-v", "data:/d"), ("-v", "data:/d:ro"), ("--mount", "type=volume,source=data,target=/d")):
        assert docker("run", "--rm", *form, "busybox", "cat", "/d/file") == "kept\n"
    refusal = docker.refused("run", "-e", f"constraint:node!={place.node}", "-v", "data:/d", "busybox")
    assert f"volume data is on {place.node}" in refusal
    assert holders(lab, engine, "data") == [place.node]


def test_options_and_labels_reach_the_engine(docker: Cli, place: Place) -> None:
    options = ("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m")
    docker("volume", "create", "--label", "tier=db", *options, "fast")
    before = docker.json("volume", "inspect", "fast")[0]
    assert (before["Labels"], before["Driver"]) == ({"tier": "db"}, "local")
    said = docker("run", "--rm", *place.pin, "-v", "fast:/fast", "busybox", "df", "-k", "/fast")
    assert said.split()[-5] == "1024"
    (theirs,) = place.engine.json("volume", "inspect", "fast")
    (ours,) = docker.json("volume", "inspect", "fast")
    assert ours["Options"] == theirs["Options"] == before["Options"]
    assert ours["Labels"] == theirs["Labels"] == {"tier": "db"}
    assert ours["Mountpoint"] == theirs["Mountpoint"]
    docker("volume", "create", "--label", "tier=other", "fast")  # there already: nothing changes
    assert docker.json("volume", "inspect", "fast")[0]["Labels"] == {"tier": "db"}


def test_removal_asks_the_owner(
    docker: Cli, sleeper: Sleeper, place: Place, lab: Lab, engine: EngineCli, etcd: Etcd
) -> None:
    container = sleeper("user", *place.pin, "-v", "data:/data")
    refusal = docker.refused("volume", "rm", "data")
    assert f"remove data: volume is in use - [{container}]" in refusal
    docker("rm", "-f", "user")
    assert docker("volume", "rm", "data") == "data\n"
    assert place.engine.lines("volume", "ls", "-q") == []
    assert etcd.under("volumes/") == {}
    assert "no such volume" in docker.refused("volume", "inspect", "data")
    assert "get data: no such volume" in docker.refused("volume", "rm", "data")
    docker("volume", "rm", "-f", "data")


def test_a_volume_may_be_made_anew_elsewhere_once_it_is_removed(
    docker: Cli, place: Place, lab: Lab, engine: EngineCli
) -> None:
    docker("run", "--rm", *place.pin, "-v", "data:/data", "busybox", "touch", "/data/old")
    docker("volume", "rm", "data")
    said = docker("run", "--rm", "-e", f"constraint:node!={place.node}", "-v", "data:/data", "busybox", "ls", "/data")
    assert said == ""
    assert place.engine.lines("volume", "ls", "-q") == []


def test_the_name_is_not_lost_when_the_first_container_fails(
    docker: Cli, place: Place, lab: Lab, engine: EngineCli
) -> None:
    docker("volume", "create", "data")
    docker.refused("create", *place.pin, "-v", "data:relative", "busybox")
    docker("run", "--rm", "-e", f"constraint:node!={place.node}", "-v", "data:/data", "busybox", "true")
    assert place.engine.lines("volume", "ls", "-q") == []


def test_anonymous_volumes_go_with_their_container(docker: Cli, place: Place) -> None:
    docker("run", "--rm", *place.pin, "-v", "/data", "busybox", "true")
    assert place.engine.lines("volume", "ls", "-q") == []
    docker("run", "--name", "box", *place.pin, "-v", "/data", "busybox", "true")
    (mount,) = docker.inspect("box")["Mounts"]
    assert len(mount["Name"]) == 64
    assert docker.lines("volume", "ls", "-q") == [mount["Name"]]
    docker("rm", "-v", "box")
    until(lambda: docker.lines("volume", "ls", "-q") == [], "no volume is left")


def test_volumes_from_another_container(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("owner", *place.pin, "-v", "/data")
    docker("exec", "owner", "sh", "-c", "echo kept > /data/file")
    assert docker("run", "--name", "user", "--volumes-from", "owner:ro", "busybox", "cat", "/data/file") == "kept\n"
    assert node_of(docker, "user") == place.node


def test_names_that_are_none_are_refused_as_engines_do(docker: Cli, engine: EngineCli) -> None:
    for words in ("volume create a/b", "volume create .x", "volume inspect nosuch",
                  "run --rm --mount type=bind,source=/nosuch/path,target=/d busybox true"):  # fmt: skip
        ours, theirs = (cli.refused(*words.split()).splitlines()[0] for cli in (docker, engine(3)))
        assert ours.split(" (node-")[0] == theirs, words


def test_a_host_path_is_a_path_on_the_node(docker: Cli, place: Place, lab: Lab) -> None:
    docker("run", "--rm", *place.pin, "-v", "/tmp/shared:/d", "busybox", "sh", "-c", "echo here > /d/file")
    assert lab.exec(place.node, ["cat", "/tmp/shared/file"]).stdout == "here\n"
    lab.exec(place.node, ["rm", "-r", "/tmp/shared"])
