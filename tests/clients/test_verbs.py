"""What one does to containers that are there: made through one proxy, used through the other, on both versions."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.clients.conftest import Place, Sleeper
from tests.shared_lab import Cli, Etcd, until


def becomes(docker: Cli, name: str, state: str) -> None:
    """At once through the proxy that changed it, soon through the other one."""
    ask = ("ps", "-a", "--filter", f"name=^{name}$", "--format", "{{.State}}")
    until(lambda: [docker(*ask, to=proxy).strip() for proxy in (1, 2)] == [state, state], f"{name} {state} for both", 3)


def test_a_life_from_create_to_rm(docker: Cli, place: Place, etcd: Etcd) -> None:
    made = docker("create", "--name", "life", *place.pin, "--init", "busybox", "sleep", "1000").strip()
    becomes(docker, "life", "created")
    for call, after in (
        ("start", "running"),
        ("stop -t 1", "exited"),
        ("restart -t 1", "running"),
        ("pause", "paused"),
        ("unpause", "running"),
        ("kill -s TERM", "exited"),
        ("start", "running"),
    ):
        assert docker(*call.split(), "life") == "life\n"
        becomes(docker, "life", after)
    assert docker("rm", "-f", made[:12]) == f"{made[:12]}\n"
    assert etcd.held() == []
    until(lambda: docker.lines("ps", "-aq", to=1) == docker.lines("ps", "-aq", to=2) == [], "gone for both", 3)


@pytest.mark.parametrize("proxy", [1, 2])
def test_a_caller_sees_its_own_change_at_once(docker: Cli, place: Place, proxy: int) -> None:
    def shown() -> list[str]:
        return docker.lines("ps", "-a", "--format", "{{.Names}} {{.State}}", to=proxy)

    docker("create", "--name", "one", *place.pin, "--init", "busybox", "sleep", "1000", to=proxy)
    for call, after in (
        ("start one", "one running"),
        ("pause one", "one paused"),
        ("unpause one", "one running"),
        ("rename one two", "two running"),
        ("kill two", "two exited"),
        ("restart -t 1 two", "two running"),
        ("stop -t 1 two", "two exited"),
    ):
        docker(*call.split(), to=proxy)
        assert shown() == [after]
    docker("rm", "two", to=proxy)
    assert shown() == []


def test_one_call_for_containers_of_several_nodes(docker: Cli, on_nodes: Sleeper) -> None:
    names = on_nodes().split()
    assert docker.lines("stop", "-t", "1", *names) == names
    assert docker.lines("start", *names) == names
    assert docker.refused("rm", *names, "nobody").count("running container") == 2
    assert docker.lines("rm", "-f", *names) == names


def test_rm_of_a_running_one_is_refused_as_its_engine_does(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("busy", *place.pin)
    assert place.engine.refused("rm", "busy").strip() in docker.refused("rm", "busy")


def test_words_about_what_is_not_there(docker: Cli, place: Place) -> None:
    for verb in ("start", "stop", "restart", "pause", "kill", "wait", "rm", "inspect", "logs", "attach", "top", "port",
                 "diff", "commit", "update -m 8m", "stats --no-stream", "rename", "exec"):  # fmt: skip
        call = [*verb.split(), "nobody", *(["more"] if verb in ("rename", "exec") else [])]
        ours, theirs = docker.refused(*call), place.engine.refused(*call)
        assert ours.lower() == theirs.lower(), verb
    assert docker.refused("cp", "nobody:/x", "-") == place.engine.refused("cp", "nobody:/x", "-")


def test_wait_tells_the_status_to_all_who_wait(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("brief", *place.pin)
    with docker.start("wait", "brief", to=1) as one, docker.start("wait", "brief", to=2) as two:
        for each in (1, 2):
            until(lambda each=each: docker.lines("ps", "-q", to=each), "seen")  # type: ignore[misc]
        docker("kill", "brief")
        assert [one.ends(), two.ends()] == [0, 0]
        assert one.output == two.output == "137\n"
    assert docker("wait", "brief") == "137\n"


def test_start_attached(docker: Cli, place: Place) -> None:
    docker("create", "--name", "say", *place.pin, "busybox", "sh", "-c", "echo said; exit 3")
    done = docker.run("start", "-a", "say", check=False)
    assert (done.stdout, done.returncode) == ("said\n", 3)
    docker("create", "-i", "--name", "count", *place.pin, "busybox", "wc", "-c")
    assert docker("start", "-ai", "count", input="12345") == "5\n"


def test_rename_moves_the_name_everywhere(docker: Cli, sleeper: Sleeper, place: Place, etcd: Etcd) -> None:
    container, other = sleeper("before", *place.pin), sleeper("other")
    docker("rename", "before", "after")
    assert docker.inspect("after")["Id"] == docker.inspect("after")["Id"] == container
    assert "No such" in docker.refused("inspect", "before")
    assert set(etcd.under("names/")) == {"names/after", "names/other"}
    refusal = docker.refused("rename", "after", "other")
    assert f'The container name "/other" is already in use by container "{other}"' in refusal
    sleeper("before")
    assert sorted(docker.lines("ps", "--format", "{{.Names}}")) == ["after", "before", "other"]


def test_update_changes_limits_and_what_info_counts(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("lim", *place.pin, "-m", "64m")
    assert (
        docker("update", "-m", "96m", "--memory-swap", "-1", "--cpus", "0.5", "--restart", "always", "lim") == "lim\n"
    )
    host = docker.inspect("lim")["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["RestartPolicy"]["Name"]) == (96 << 20, 500_000_000, "always")
    assert place.engine.inspect("lim")["HostConfig"]["Memory"] == 96 << 20
    for proxy in (1, 2):
        until(lambda proxy=proxy: "Reserved Memory: 96 MiB" in docker("info", to=proxy), "counted anew", 3)  # type: ignore[misc]


def test_top_port_diff_and_stats(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("busy", *place.pin, "-p", "18081:80")
    assert "sleep 1000" in docker("top", "busy")
    assert docker("top", "busy", "-o", "pid,args").split()[:2] == ["PID", "COMMAND"]
    assert docker("port", "busy", "80").strip() == f"{docker.inspect('busy')['Node']['IP']}:18081"
    docker("exec", "busy", "sh", "-c", "echo x > /root/new; rm /etc/group")
    assert {"C /root", "A /root/new", "C /etc", "D /etc/group"} <= set(docker.lines("diff", "busy"))
    assert sorted(docker.lines("diff", "busy")) == sorted(place.engine.lines("diff", "busy"))
    stats = docker.json("stats", "--no-stream", "--format", "json", "busy")
    assert (stats["Name"], stats["PIDs"]) == ("busy", "2")


def test_stats_of_all_hosts_in_one_table(docker: Cli, on_nodes: Sleeper) -> None:
    names = on_nodes().split()
    assert sorted(docker.lines("stats", "--no-stream", "--format", "{{.Name}}")) == names


def test_cp_both_ways(docker: Cli, sleeper: Sleeper, place: Place, tmp_path: Path) -> None:
    sleeper("box", *place.pin)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_text("alpha")
    (tmp_path / "in/big").write_bytes(b"0" * 3_000_000)
    docker("cp", str(tmp_path / "in"), "box:/opt")
    docker("cp", str(tmp_path / "in/a"), "box:/etc/renamed")
    assert docker("exec", "box", "sh", "-c", "cat /etc/renamed /opt/a; wc -c < /opt/big").strip() == "alphaalpha3000000"
    docker("cp", "box:/opt", str(tmp_path / "out"))
    assert (tmp_path / "out/big").read_bytes() == b"0" * 3_000_000
    docker("stop", "-t", "1", "box")
    docker("cp", "box:/etc/renamed", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "alpha"
    assert "Could not find the file /none in container box" in docker.refused("cp", "box:/none", str(tmp_path))


def test_cp_and_export_as_tar_streams(docker: Cli, sleeper: Sleeper, place: Place, tmp_path: Path) -> None:
    sleeper("box", *place.pin)
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        entry = tarfile.TarInfo("dropped")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    with archive.open() as stream, docker.start("cp", "-", "box:/root", stdin=stream.fileno()) as live:
        assert live.ends() == 0
    docker("export", "-o", str(tmp_path / "all.tar"), "box")
    with tarfile.open(tmp_path / "all.tar") as tar:
        assert "root/dropped" in tar.getnames()
    with docker.start("cp", "box:/root/dropped", "-") as live:
        assert live.ends() == 0
        assert "abc" in live.output


def test_logs_choose_lines_and_streams(docker: Cli, place: Place) -> None:
    docker("run", "--name", "log", *place.pin, "busybox", "sh", "-c", "for i in 1 2 3; do echo o$i; echo e$i >&2; done")
    done = docker.run("logs", "log")
    assert (done.stdout.split(), done.stderr.split()) == (["o1", "o2", "o3"], ["e1", "e2", "e3"])
    assert docker("logs", "--tail", "3", "log").split() == place.engine("logs", "--tail", "3", "log").split()
    stamps = docker.lines("logs", "-t", "log")
    assert all(line[:4].isdigit() and line.endswith(f"o{number}") for number, line in enumerate(stamps, 1))
    assert docker("logs", "--since", "1h", "--until", "30m", "log") == ""


def test_following_logs_through_either_proxy(docker: Cli, place: Place) -> None:
    script = "echo first; until test -e /tmp/go; do sleep 0.1; done; echo last"
    docker("run", "-d", "--name", "log", *place.pin, "busybox", "sh", "-c", script)
    with docker.start("logs", "-f", "log", to=1) as one, docker.start("logs", "-f", "log", to=2) as two:
        for live in (one, two):
            live.says("first")
        docker("exec", "log", "touch", "/tmp/go")
        assert [one.ends(), two.ends()] == [0, 0]
        assert one.output == two.output == "first\nlast\n"


def test_inspect_says_what_the_engine_says(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    """But for the node, addresses that are reachable from afar, and what we add, which is not shown."""
    words = ("-l", "colour=blue", "-e", "A=b", "-p", "18082:80", "-v", "data:/data", "-v", "/anonymous")
    sleeper("one", *place.pin, *words)
    ours, theirs = docker.inspect("one"), place.engine.inspect("one")
    node = ours.pop("Node")
    assert (node["Name"], node["Addr"]) == (place.node, f"{node['IP']}:2375")
    # placement words become a label, as they did in classic Swarm
    asked = {"com.docker.swarm.constraints": f'["node=={place.node}"]'}
    assert ours["Config"].pop("Labels") == {"colour": "blue", **asked}
    assert [word for word in ours["Config"]["Env"] if not word.startswith("PATH=")] == ["A=b"]
    assert {**ours["Config"], "Labels": theirs["Config"]["Labels"]} == theirs["Config"]
    (bound,) = ours["NetworkSettings"].pop("Ports")["80/tcp"]
    assert bound == {"HostIp": node["IP"], "HostPort": "18082"}
    theirs["NetworkSettings"].pop("Ports")
    assert (ours["HostConfig"].pop("Dns"), len(theirs["HostConfig"].pop("Dns"))) == ([], 2)
    for side in (ours, theirs):
        side.pop("Config")
        side["Mounts"].sort(key=lambda mount: mount["Destination"])
        side["NetworkSettings"]["Networks"]["bridge"].pop("NetworkID")
    assert ours == theirs
