"""What is listed: all hosts in one list, the engine's own filters, the same events from either proxy."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from swarmproxy.lab import Lab
from tests.clients.conftest import Place, Sleeper
from tests.shared_lab import Cli, until


def test_version_names_every_engine(docker: Cli, lab: Lab) -> None:
    said = docker.json("version", "--format", "json")["Server"]
    engines = {part["Name"]: part["Version"] for part in said["Components"] if part["Name"].startswith("Engine ")}
    assert engines == {f"Engine {node.name}": node.version() for node in lab.nodes}
    assert len(set(engines.values())) == 2
    assert said["ApiVersion"] == "1.41"


def test_info_tells_node_by_node_and_sums(docker: Cli, on_nodes: Sleeper, lab: Lab) -> None:
    on_nodes("-m", "64m", "--cpus", "0.5")
    docker("pause", "c2")
    docker("stop", "-t", "1", "c3")
    for proxy in (1, 2):
        until(lambda proxy=proxy: "Stopped: 1" in docker("info", to=proxy), "the stop is seen")  # type: ignore[misc]
        said = docker("info", to=proxy)
        assert re.search(r"Containers: 3\n +Running: 1\n +Paused: 1\n +Stopped: 1\n Images: 2\n", said)
        assert " Nodes: 3\n" in said
        for node, held in zip(lab.nodes, ("1 Running, 0 Paused, 0 Stopped", "0 Running, 1 Paused, 0 Stopped",
                                          "0 Running, 0 Paused, 1 Stopped"), strict=True):  # fmt: skip
            (part,) = re.findall(rf"  {node.name}: {node.address}:2375\n((?:   └.*\n)+)", said)
            assert "└ Status: Healthy" in part
            assert f"└ Containers: 1 ({held})" in part
            assert "└ Reserved CPUs: 0.5 / " in part or "└ Reserved CPUs: 0.50 / " in part
            assert "└ Reserved Memory: 64 MiB / " in part
            assert "└ Labels:" in part
            assert f"└ ServerVersion: {node.version()}" in part


def test_ps_shows_all_hosts_newest_first_under_plain_names(docker: Cli, on_nodes: Sleeper) -> None:
    on_nodes()
    for proxy in (1, 2):
        assert docker.lines("ps", "--format", "{{.Names}} {{.State}}", to=proxy) == [
            f"c{number} running" for number in (3, 2, 1)
        ]
    assert docker.lines("ps", "-n", "2", "--format", "{{.Names}}") == ["c3", "c2"]
    assert docker.lines("ps", "-l", "--format", "{{.Names}}") == ["c3"]
    for number in (1, 2, 3):
        assert docker.lines("ps", "--filter", f"node=node-{number}", "--format", "{{.Names}}") == [f"c{number}"]
        assert docker.inspect(f"node-{number}/c{number}")["Name"] == f"/c{number}"
    assert docker("ps", "--format", '{{.Label "swarmproxy.node"}}').split() == ["node-3", "node-2", "node-1"]
    assert docker("ps", "-s", "--format", "{{.Size}}").count("virtual") == 3


FILTERS = """
    name=web name=^web$ name=/web name=w.b name=^/web id={id} id={short}
    label=colour label=colour=blue label=colour=
    status=exited status=running status=created status=paused exited=3 exited=0 health=healthy health=none
    ancestor=busybox ancestor=busybox:latest ancestor=nginx:alpine ancestor=nosuch ancestor={image}
    network=bridge network=none network=nosuch volume=data volume=/data volume=other
    publish=18083 publish=18083/tcp publish=18000-18100 publish=80 expose=80 expose=80/tcp expose=9000
    before=idle since=idle before={id} is-task=true is-task=false
""".split()


def test_ps_filters_choose_what_the_engine_would(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    container = sleeper("web", *place.pin, "-l", "colour=blue", "-p", "18083:80", "-v", "data:/data")
    docker("create", "--name", "idle", *place.pin, "-l", "colour=red", "--network", "none", "nginx:alpine")
    docker("run", "--name", "failed", *place.pin, "-l", "other", "busybox", "sh", "-c", "exit 3", check=False)
    sleeper("webber", *place.pin, "--health-cmd", "true", "--health-interval", "100ms", "--expose", "9000")
    docker("pause", sleeper("quiet", *place.pin))
    until(lambda: docker.lines("ps", "-q", "--filter", "health=healthy", to=1), "healthy for one")
    until(lambda: docker.lines("ps", "-q", "--filter", "health=healthy", to=2), "healthy for the other")
    values = {"id": container, "short": container[:12], "image": docker.inspect("web")["Image"]}
    wrong = []
    for text in FILTERS:
        words = ("ps", "--filter", text.format(**values), "--format", "{{.Names}} {{.Ports}}")
        for call in (words, (*words[:1], "-a", *words[1:])):
            ours, theirs = docker.run(*call, check=False), place.engine.run(*call, check=False)
            names = [sorted(line.split()[0] for line in done.stdout.splitlines()) for done in (ours, theirs)]
            if names[0] != names[1] or ours.returncode != theirs.returncode:
                wrong.append((call[1:-2], *names, ours.stderr))
    assert not wrong
    several = ("ps", "-aq", "--filter", "name=web", "--filter", "label=colour", "--filter", "label=colour=blue")
    assert docker.lines(*several) == [container[:12]]


@pytest.mark.parametrize("text", ["status=bogus", "colour=blue", "exited=x", "is-task=x", "before=nobody", "publish=x"])
def test_bad_filters_are_refused_in_the_newer_engines_words(docker: Cli, engine: Any, text: str) -> None:
    assert (
        docker.refused("ps", "--filter", text).split("(node")[0].strip()
        == engine(3).refused("ps", "--filter", text).strip()
    )


def test_network_and_volume_filters(docker: Cli) -> None:
    docker("network", "create", "-d", "overlay", "--label", "tier=front", "front")
    docker("network", "create", "back")
    docker("volume", "create", "--label", "tier=db", "dbdata")
    docker("volume", "create", "logs")

    def listed(kind: str, text: str) -> list[str]:
        return sorted(docker.lines(kind, "ls", "--filter", text, "--format", "{{.Name}}"))

    assert listed("network", "name=fro") == listed("network", "label=tier") == ["front"]
    assert listed("network", "driver=overlay") == ["front"]
    assert listed("network", "type=custom") == ["back", "front"]
    assert listed("network", "type=builtin") == ["bridge", "host", "none"]
    assert listed("network", "dangling=true") == ["back", "front"]
    assert listed("network", f"id={docker.json('network', 'inspect', 'back')[0]['Id'][:12]}") == ["back"]
    assert listed("volume", "name=data") == listed("volume", "label=tier=db") == ["dbdata"]
    assert listed("volume", "dangling=true") == listed("volume", "driver=local") == ["dbdata", "logs"]


def test_events_of_all_hosts_from_either_proxy(docker: Cli, on_nodes: Sleeper) -> None:
    form = ("events", "--format", "{{json .}}", "--filter", "type=container")
    with docker.start(*form, to=1) as one, docker.start(*form, to=2) as two:
        for live in (one, two):
            until(lambda live=live: _follows(docker, live), "it listens")  # type: ignore[misc]
        names = on_nodes().split()
        docker("kill", *names)
        docker("rm", *names)
        for live in (one, two):
            until(lambda live=live: live.output.count('"Action":"destroy"') >= 4, live.output)  # type: ignore[misc]
        streams = [_told(live.output, names) for live in (one, two)]
    assert sorted(streams[0]) == sorted(streams[1])
    for number, name in enumerate(names, 1):
        actions = [action for action, who, node in streams[0] if (who, node) == (name, f"node-{number}")]
        assert [action for action in actions if action != "kill"] == ["create", "start", "die", "destroy"]


def _follows(docker: Cli, live: Any) -> bool:
    if '"destroy"' not in live.output:
        docker("rm", docker("create", "busybox").strip())
    return '"destroy"' in live.output


def _told(output: str, names: list[str]) -> list[tuple[str, str, str]]:
    found = []
    for line in output.splitlines():
        event = json.loads(line)
        attributes = event["Actor"]["Attributes"]
        assert not [key for key in attributes if key.startswith("swarmproxy.")]
        if attributes["name"] in names:
            found.append((event["Action"], attributes["name"], attributes["node.name"]))
    return found


def test_events_of_the_past_end_at_until(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    container = sleeper("past", *place.pin, "-l", "colour=blue")
    docker("kill", "past")
    docker("wait", "past")
    form = ("events", "--since", "1h", "--until", "-1s", "--format", "{{.Action}}")

    def said(*filters: str) -> list[str]:
        return docker.lines(*form, *(word for text in filters for word in ("--filter", text)))

    assert said(f"container={container}", "event=start", "event=die") == ["start", "die"]
    assert said("label=colour=blue", f"container={container}", "event=create") == ["create"]
    assert said(f"container={container}", "type=image") == []
