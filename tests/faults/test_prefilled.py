"""Three engines that already hold things of the same names join: no error, no loss, everything can be addressed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from swarmproxy.lab import Lab
from swarmproxy.lab.plan import BASE
from tests.shared_lab import Cli, raised_lab, until

SLEEP = ("busybox", "sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait")


@pytest.fixture(scope="module")
def filled() -> Iterator[tuple[Lab, Cli]]:
    """A lab whose engines were used for themselves before they became a cluster; node-1's things are the oldest."""
    with raised_lab("swpre", BASE, cluster=False) as engines:
        for node in engines.nodes:
            direct = Cli([engines.node_env(node)])
            direct("network", "create", "shared")
            direct("volume", "create", "data")
            direct("run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", f"echo {node.name} >/d/who")
            direct("run", "-d", "--name", "web", "--network", "shared", "-v", "data:/d", *SLEEP)
            direct("run", "--name", "paint", "busybox", "sh", "-c", f"echo {node.name} >/colour")
            direct("commit", "paint", "app:1")
            direct("rm", "paint")
        lab = Lab(name=engines.name, cluster=True)
        lab.up()
        docker = Cli([lab.client_env(1), lab.client_env(2)])
        for proxy in (1, 2):
            until(lambda proxy=proxy: docker("ps", "--format", "{{.Names}}", to=proxy).count("web") == 3, "all listed")
        yield lab, docker


def test_containers_keep_their_names_as_far_as_one_cluster_can(filled: tuple[Lab, Cli]) -> None:
    _, docker = filled
    names = {"web", "node-2/web", "node-3/web"}
    for proxy in (1, 2):
        until(lambda proxy=proxy: set(docker.lines("ps", "--format", "{{.Names}}", to=proxy)) == names, "named", 20)
    for name, node in (("web", "node-1"), ("node-2/web", "node-2"), ("node-3/web", "node-3")):
        assert docker.inspect(name)["Node"]["Name"] == node
        assert docker("exec", name, "cat", "/d/who").strip() == node
    assert "names that another node holds too" in docker.run("info").stderr + docker("info")


def test_volumes_are_never_merged(filled: tuple[Lab, Cli]) -> None:
    _, docker = filled
    until(lambda: len(docker.lines("volume", "ls", "-q")) == 3, "three volumes")
    for name in docker.lines("volume", "ls", "-q"):
        owner = docker("run", "--rm", "-v", f"{name}:/d", "busybox", "cat", "/d/who").strip()
        assert name in ("data", f"{owner}/data")


def test_networks_stay_where_they_are(filled: tuple[Lab, Cli]) -> None:
    _, docker = filled
    until(
        lambda: sum("shared" in name for name in docker.lines("network", "ls", "--format", "{{.Name}}")) == 3,
        "three",
        20,
    )
    for name in docker.lines("network", "ls", "--format", "{{.Name}}"):
        if "shared" in name:
            made = docker("run", "-d", "--network", name, *SLEEP).strip()
            node = docker.inspect(made)["Node"]["Name"]
            assert name in ("shared", f"{node}/shared")
            docker("rm", "-f", made)


def test_an_image_name_means_one_image_and_none_is_lost(filled: tuple[Lab, Cli]) -> None:
    _, docker = filled
    tags = [tag for tag in docker.lines("images", "--format", "{{.Repository}}:{{.Tag}}") if tag.endswith("app:1")]
    assert sorted(tags) == sorted({"app:1", *(tag for tag in tags if tag.startswith("node-"))}) and len(tags) == 3
    seen = {docker("run", "--rm", tag, "cat", "/colour").strip() for tag in tags}
    assert seen == {"node-1", "node-2", "node-3"}


def test_the_plain_name_moves_when_its_holder_goes(filled: tuple[Lab, Cli]) -> None:
    _, docker = filled
    docker("rm", "-f", "web")
    until(lambda: "web" in docker.lines("ps", "--format", "{{.Names}}"), "the next one takes the plain name")
    assert docker.inspect("web")["Node"]["Name"] in ("node-2", "node-3")
    assert len(docker.lines("ps", "-q")) == 2


def test_what_is_made_behind_our_back_is_adopted(filled: tuple[Lab, Cli]) -> None:
    lab, docker = filled
    Cli([lab.node_env(3)])("run", "-d", "--name", "stranger", "-p", "18099:80", *SLEEP)
    until(lambda: "stranger" in docker.lines("ps", "--format", "{{.Names}}"), "it is listed")
    refused = until(
        lambda: (done := docker.run("create", "--name", "stranger", "busybox", check=False)).returncode and done.stderr,
        "its name is taken",
    )
    assert 'Conflict. The container name "/stranger" is already in use' in refused
    refused = docker.refused("run", "-d", "-p", "18099:80", "-e", "constraint:node==node-3", "busybox", "true")
    assert "node-3: " in refused and "18099" in refused
    docker("rm", "-f", "stranger")
