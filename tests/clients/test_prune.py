"""Prune by the Docker CLI: what is in use on any host stays, what goes is gone for engines, store and both proxies."""

from __future__ import annotations

import pytest

from swarmproxy.model import keys
from tests.clients.conftest import Sleeper
from tests.conftest import EngineCli
from tests.shared_lab import Cli, Etcd, until

FILL = ("sh", "-c", "dd if=/dev/urandom of=/d/file bs=1000 count=200 2>/dev/null")
"""200 kB into a volume at /d."""


@pytest.fixture
def keepers(docker: Cli) -> None:
    """A user for each image of the lab, so that `prune -a` leaves these to the other tests."""
    docker("create", "--name", "keep-busybox", "busybox")
    docker("create", "--name", "keep-nginx", "nginx:alpine")


def reclaimed(said: str) -> str:
    """What the CLI sums up in its last line."""
    return said.splitlines()[-1].removeprefix("Total reclaimed space:").removeprefix("Total:").strip()


def engines(docker: Cli, engine: EngineCli, *words: str) -> list[str]:
    """What the engines themselves list, all lines sorted."""
    return sorted(line for number in (1, 2, 3) for line in engine(number).lines(*words))


def test_stopped_containers_of_all_hosts(docker: Cli, on_nodes: Sleeper, etcd: Etcd) -> None:
    on_nodes()
    for number in (1, 2, 3):
        words = ("-e", f"constraint:node==node-{number}", "-l", f"number={number}", "-l", "kind=brief")
        docker("create", "--name", f"s{number}", *words, "busybox")

    def left(*words: str, to: int) -> list[str]:
        docker("container", "prune", "-f", *words, to=to)
        return sorted(docker.lines("ps", "-a", "--format", "{{.Names}}", to=to))

    assert left("--filter", "until=1h", to=1) == ["c1", "c2", "c3", "s1", "s2", "s3"]
    assert left("--filter", "label!=kind=brief", to=2) == ["c1", "c2", "c3", "s1", "s2", "s3"]
    assert left("--filter", "label=kind=brief", "--filter", "label!=number=1", to=1) == ["c1", "c2", "c3", "s1"]
    docker("stop", "-t", "1", "c2")
    assert left("--filter", "node=node-1", to=2) == ["c1", "c2", "c3"]
    assert left(to=1) == ["c1", "c3"]
    assert set(etcd.under("names/")) == {"names/c1", "names/c3"}
    docker("run", "-d", "--name", "c2", "--init", "busybox", "sleep", "1000")  # its name is free at once


def test_networks_as_one_engine_would(docker: Cli, engine: EngineCli, sleeper: Sleeper, etcd: Etcd) -> None:
    for number in (1, 3):
        engine(number)("network", "create", "--label", "mine=1", "theirs")
        engine(number)("create", "--network", "theirs", "--name", "direct", "busybox")
        assert "theirs" in engine(number)("network", "prune", "-f", "--filter", "label=mine")
    for name in ("used", "stopped", "free"):
        docker("network", "create", name)
    sleeper("user", "--network", "used")
    docker("create", "--name", "late", "--network", "stopped", "busybox", "true")
    docker("network", "connect", "free", "user")
    docker("network", "disconnect", "free", "user")
    assert "Deleted" not in docker("network", "prune", "-f", "--filter", "until=1h")
    said = docker("network", "prune", "-f")
    assert sorted(said.split()[2:]) == ["free", "stopped"]
    assert set(etcd.under("netnames/")) == {"netnames/used"}
    for proxy in (1, 2):
        shown = docker.lines("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}", to=proxy)
        assert shown == ["used"]
    until(lambda: not {"free", "stopped"} & set(engines(docker, engine, "network", "ls", "--format", "{{.Name}}")),
          "the copies are gone")  # fmt: skip


def test_volumes_and_their_bytes(docker: Cli, engine: EngineCli, etcd: Etcd) -> None:
    for number in (1, 3):
        pin = ("-e", f"constraint:node==node-{number}")
        docker("run", "--rm", *pin, "-v", f"data{number}:/d", "busybox", *FILL)
        docker("create", "--name", f"u{number}", *pin, "-v", f"used{number}:/d", "-v", "/anonymous", "busybox")
    docker("volume", "create", "placeless")
    docker("volume", "create", "--label", "keep=1", "kept")
    docker("volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "optioned")
    said = docker("volume", "prune", "-f", "--filter", "label!=keep", to=1)
    assert sorted(said.splitlines()[1:4]) == ["data1", "data3", "placeless"]
    assert reclaimed(said) == "400kB"

    def named(proxy: int) -> list[str]:
        shown = docker.lines("volume", "ls", "--format", "{{.Name}}", to=proxy)
        assert sum(len(name) == 64 for name in shown) == 2
        return sorted(name for name in shown if len(name) < 64)

    assert named(1) == ["kept", "optioned", "used1", "used3"]
    until(lambda: named(2) == named(1), "the other proxy has heard of it")
    assert set(etcd.under("volumes/")) == {f"volumes/{name}" for name in ("kept", "optioned", "used1", "used3")}
    held = engines(docker, engine, "volume", "ls", "--format", "{{.Name}}")
    assert [name for name in held if len(name) < 64] == ["used1", "used3"]
    docker("rm", "-f", "u1", "u3")
    docker("volume", "prune", "-f", to=1)
    assert docker.lines("volume", "ls", "--format", "{{.Name}}", to=1) == ["optioned"]


def test_an_image_in_use_anywhere_stays_everywhere(
    docker: Cli, engine: EngineCli, sleeper: Sleeper, keepers: None, etcd: Etcd
) -> None:
    sleeper("source", "-e", "constraint:node==node-1")
    docker("exec", "source", "sh", "-c", "dd if=/dev/urandom of=/file bs=1000 count=300 2>/dev/null")
    docker("commit", "source", "wanted:1")
    docker("exec", "source", "sh", "-c", "rm /file; dd if=/dev/urandom of=/file bs=1000 count=500 2>/dev/null")
    docker("commit", "source", "unwanted:1")
    for number in (1, 2):
        docker("run", "--rm", "-e", f"constraint:node==node-{number}", "unwanted:1", "true")
        docker("run", "--rm", "-e", f"constraint:node==node-{number}", "wanted:1", "true")
    docker("create", "--name", "user", "-e", "constraint:node==node-3", "wanted:1")
    before = engines(docker, engine, "images", "--format", "{{.Repository}}")
    assert (before.count("wanted"), before.count("unwanted")) == (3, 2)
    assert "unwanted" not in docker("image", "prune", "-f")  # it has a tag
    assert "unwanted" not in docker("image", "prune", "-af", "--filter", "until=1h")
    said = docker("image", "prune", "-af")
    assert said.count("untagged: unwanted:1") == 1
    assert reclaimed(said) == "1MB"
    after = engines(docker, engine, "images", "--format", "{{.Repository}}")
    assert (after.count("wanted"), after.count("unwanted")) == (3, 0)
    meanings = {keys.parts(key)[-1] for key in etcd.under("images/")}
    assert ("wanted:1" in meanings, "unwanted:1" in meanings) == (True, False)
    until(lambda: not any("unwanted" in docker("images", to=proxy) for proxy in (1, 2)), "gone for both")
    assert docker("start", "user") == "user\n"


def test_dangling_images_of_all_hosts(docker: Cli, engine: EngineCli, keepers: None) -> None:
    for number in (1, 3):
        for text in ("one", "two"):
            engine(number)("build", "-q", "-t", "moved:1", "-", input=f"FROM busybox\nRUN echo {text} {number} > /x")
    until(lambda: all(docker.lines("images", "-q", "--filter", "dangling=true", to=proxy) for proxy in (1, 2)), "seen")
    assert docker("image", "prune", "-f").count("deleted:") >= 2
    for number in (1, 3):
        assert engine(number).lines("images", "-q", "--filter", "dangling=true") == []
    until(
        lambda: not any(docker.lines("images", "-q", "--filter", "dangling=true", to=each) for each in (1, 2)), "gone"
    )


def test_system_prune(docker: Cli, engine: EngineCli, on_nodes: Sleeper, etcd: Etcd) -> None:
    docker("network", "create", "used")
    docker("network", "create", "free")
    on_nodes("--network", "used", "-v", "/anonymous")
    docker("stop", "-t", "1", "c3")
    docker("volume", "create", "free")
    said = docker("system", "prune", "-f", "--volumes", to=2)
    for title in ("Deleted Containers:", "Deleted Networks:\nfree\n", "Deleted Volumes:", "Total reclaimed space:"):
        assert title in said
    assert docker.lines("ps", "-a", "--format", "{{.Names}}", to=2) == ["c2", "c1"]
    assert len(docker.lines("volume", "ls", "-q", to=2)) == 2
    assert set(etcd.under("netnames/")) == {"netnames/used"}
    assert "Total reclaimed space: 0B" in docker("system", "prune", "-f")
    assert reclaimed(docker("builder", "prune", "-f")) == "0B"


def test_bad_filters_in_the_newer_engines_words(docker: Cli, engine: EngineCli) -> None:
    for kind, text in (("container", "colour=1"), ("network", "until=x"), ("image", "until=x"), ("volume", "until=1h")):
        call = (kind, "prune", "-f", "--filter", text)
        assert docker.refused(*call) == engine(3).refused(*call), kind
