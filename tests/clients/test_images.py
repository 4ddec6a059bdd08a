"""Images: one name means one image in the whole cluster; the bytes follow where a container needs them."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from swarmproxy.lab import Lab
from tests.clients.conftest import Place, Sleeper
from tests.conftest import EngineCli
from tests.shared_lab import Cli, Etcd, until


def holders(lab: Lab, engine: EngineCli, name: str) -> list[str]:
    """Nodes whose engine has the image."""
    return [node.name for node in lab.nodes if engine(node.target.number).run("image", "inspect", name, check=False)
            .returncode == 0]  # fmt: skip


def make(docker: Cli, name: str, *words: str) -> str:
    """A new image that only one node has; its id."""
    docker("run", "--name", "maker", *words, "busybox", "sh", "-c", f"echo {name} > /made")
    made = docker("commit", "-c", 'CMD ["cat", "/made"]', "maker", name).strip()
    docker("rm", "maker")
    return made


def test_images_are_listed_once_however_many_nodes_have_them(docker: Cli, lab: Lab, engine: EngineCli) -> None:
    assert holders(lab, engine, "busybox") == [node.name for node in lab.nodes]
    for proxy in (1, 2):
        listed = docker.lines("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", to=proxy)
        theirs = engine(3).lines("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
        assert sorted(listed) == sorted(theirs)
    assert docker("image", "inspect", "busybox") == docker("image", "inspect", "busybox")
    assert docker("history", "-q", "busybox") == engine(3)("history", "-q", "busybox")


def test_commit_makes_an_image_that_runs_on_every_node(docker: Cli, place: Place, lab: Lab, engine: EngineCli) -> None:
    made = make(docker, "app:1", *place.pin)
    assert made.startswith("sha256:")
    assert holders(lab, engine, "app:1") == [place.node]
    for node in lab.nodes:
        said = docker("run", "--rm", "-e", f"constraint:node=={node.name}", "app:1")
        assert said == "app:1\n"
    assert holders(lab, engine, made) == [node.name for node in lab.nodes]
    assert docker.lines("images", "-q", "--no-trunc", "app") == [made]


def test_a_new_image_of_an_old_name_replaces_it_everywhere(docker: Cli, lab: Lab, engine: EngineCli) -> None:
    make(docker, "app:1", "-e", "constraint:node==node-1")
    docker("run", "--rm", "-e", "constraint:node==node-2", "app:1")
    newer = make(docker, "other", "-e", "constraint:node==node-3")
    docker("tag", "other", "app:1")
    for node in ("node-1", "node-2", "node-3"):
        assert docker("run", "--rm", "-e", f"constraint:node=={node}", "app:1") == "other\n"
    assert docker.json("image", "inspect", "app:1")[0]["Id"] == newer


def test_tag_and_rmi_on_every_node(docker: Cli, lab: Lab, engine: EngineCli, etcd: Etcd) -> None:
    docker("tag", "busybox", "mine:2")
    assert holders(lab, engine, "mine:2") == [node.name for node in lab.nodes]
    assert docker("rmi", "mine:2") == "Untagged: mine:2\n"
    assert holders(lab, engine, "mine:2") == []
    assert "images/mine%3A2" not in etcd.under("images/")
    assert "No such image: mine:2" in docker.refused("rmi", "mine:2")
    made = make(docker, "app:1")
    docker("run", "--rm", "-e", "constraint:node==node-2", "app:1")
    assert f"Deleted: {made}" in docker("rmi", "app:1")
    assert holders(lab, engine, made) == []


def test_rmi_of_an_image_in_use_is_refused_before_any_node_is_touched(
    docker: Cli, place: Place, lab: Lab, engine: EngineCli
) -> None:
    make(docker, "app:1")
    docker("create", "--name", "user", *place.pin, "app:1")
    refusal = docker.refused("rmi", "app:1")
    theirs = place.engine.refused("rmi", "app:1")
    assert refusal.startswith(theirs.strip())
    assert place.node in holders(lab, engine, "app:1")
    docker("rm", "user")
    docker("rmi", "app:1")


def test_save_and_load(docker: Cli, place: Place, tmp_path: Path, lab: Lab, engine: EngineCli) -> None:
    made = make(docker, "app:1", *place.pin)
    docker("save", "-o", str(tmp_path / "app.tar"), "app:1", "busybox:latest")
    with tarfile.open(tmp_path / "app.tar") as archive:
        assert "manifest.json" in archive.getnames()
    docker("rmi", "app:1")
    assert holders(lab, engine, made) == []
    assert "Loaded image: app:1" in docker("load", "-i", str(tmp_path / "app.tar"))
    assert docker("run", "--rm", *place.pin, "app:1") == "app:1\n"
    assert docker.json("image", "inspect", "app:1")[0]["Id"] == made


def test_save_gathers_what_no_single_node_has(docker: Cli, tmp_path: Path) -> None:
    make(docker, "one:1", "-e", "constraint:node==node-1")
    make(docker, "three:1", "-e", "constraint:node==node-3")
    docker("save", "-o", str(tmp_path / "both.tar"), "one:1", "three:1")
    docker("rmi", "one:1", "three:1")
    assert "three:1" in docker("load", "-i", str(tmp_path / "both.tar"))
    assert docker("run", "--rm", "one:1") == "one:1\n"


def test_export_and_import(docker: Cli, place: Place, tmp_path: Path) -> None:
    docker("run", "--name", "box", *place.pin, "busybox", "sh", "-c", "echo kept > /kept")
    docker("export", "-o", str(tmp_path / "box.tar"), "box")
    made = docker("import", "-c", "CMD cat /kept", str(tmp_path / "box.tar"), "kept:1").strip()
    assert made.startswith("sha256:")
    assert docker("run", "--rm", *place.pin, "kept:1") == "kept\n"


def test_commit_keeps_nothing_of_ours(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    container = sleeper("box", *place.pin, "-l", "colour=blue")
    docker("commit", "box", "copy:1")
    other = docker("run", "-d", "--init", "copy:1", "sleep", "1000").strip()
    assert docker.inspect(other)["Config"]["Labels"]["colour"] == "blue"
    for each in (container, other):  # a token copied into an image makes no container another's
        assert docker.lines("ps", "-q", "--no-trunc", "--filter", f"id={each}") == [each]
    docker("rm", "-f", other)
    assert docker.inspect("box")["State"]["Running"]


def test_image_filters(docker: Cli, engine: EngineCli) -> None:
    docker("tag", "busybox", "team/app:1")
    make(docker, "app:1", "-e", "constraint:node==node-3")

    def listed(cli: Cli, *filters: str) -> list[str]:
        words = [word for text in filters for word in ("--filter", text)]
        return sorted(cli.lines("images", *words, "--format", "{{.Repository}}:{{.Tag}}"))

    for text in ("reference=*/*", "reference=app*", "reference=busy*:lat*", "reference=busybox", "since=busybox",
                 "before=app:1", "dangling=true", "dangling=false", "label=none"):  # fmt: skip
        assert listed(docker, text) == listed(engine(3), text), text
    assert listed(docker, "node=node-3", "reference=app") == ["app:1"]
    assert listed(docker, "node=node-1", "reference=app") == []
    assert sorted(docker.lines("images", "app", "--format", "{{.Tag}}")) == ["1"]


def test_without_a_registry_a_pull_says_so_at_once(docker: Cli, engine: EngineCli) -> None:
    ours, theirs = docker.refused("pull", "nosuch:1"), engine(1).refused("pull", "nosuch:1")
    assert ours.startswith(theirs.strip())


def test_push_pull_and_digests(docker: Cli, registry: str, place: Place, lab: Lab, engine: EngineCli) -> None:
    name = f"{registry}/app:1"
    made = make(docker, name, *place.pin)
    pushed = docker("push", name)
    digest = pushed.rpartition("digest: ")[2].split()[0]
    assert digest.startswith("sha256:")
    docker("rmi", name)
    assert holders(lab, engine, made) == []
    assert docker("pull", name).splitlines()[-1] == name
    assert docker("run", "--rm", *place.pin, name) == f"{name}\n"
    assert docker.json("image", "inspect", name)[0]["Id"] == made
    assert f"{registry}/app@{digest}" in docker.json("image", "inspect", name)[0]["RepoDigests"]
    docker("rmi", name)
    assert docker("run", "--rm", *place.pin, f"{registry}/app@{digest}") == f"{name}\n"
    docker("rmi", "-f", made)


def test_create_of_an_image_that_only_the_registry_has_pulls_it(docker: Cli, registry: str, place: Place) -> None:
    name = f"{registry}/pulled:1"
    make(docker, name)
    docker("push", name)
    docker("rmi", name)
    done = docker.run("run", "--rm", *place.pin, name)
    assert done.stdout == f"{name}\n"
    assert f"Unable to find image '{name}' locally" in done.stderr


@pytest.mark.parametrize("words", ["push", "pull"])
def test_what_the_registry_refuses_is_told(docker: Cli, registry: str, engine: EngineCli, words: str) -> None:
    name = f"{registry}/nosuch:1"
    ours, theirs = docker.refused(words, name), engine(3).refused(words, name)
    assert ours.startswith(theirs.strip())


def test_an_engine_that_learns_an_image_by_itself_shares_it(docker: Cli, engine: EngineCli) -> None:
    engine(2)("run", "--name", "behind", "busybox", "sh", "-c", "echo behind > /made")
    engine(2)("commit", "-c", 'CMD ["cat", "/made"]', "behind", "behind:1")
    until(lambda: docker.lines("images", "-q", "behind"), "the image is seen")
    assert docker("run", "--rm", "-e", "constraint:node==node-3", "behind:1") == "behind\n"
