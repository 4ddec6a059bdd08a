"""`docker run` in all its forms: on both engine versions, every call to the next of the two proxies."""

from __future__ import annotations

import signal
import urllib.request

import pytest

from tests.clients.conftest import Place, Sleeper
from tests.clients.terminal import Terminal
from tests.shared_lab import Cli, CliError, Etcd, until


def test_output_errors_and_exit_status_reach_the_terminal(docker: Cli, place: Place) -> None:
    done = docker.run("run", "--rm", *place.pin, "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    assert docker.lines("ps", "-aq") == []


def test_placement_words_do_not_reach_the_container(docker: Cli, place: Place) -> None:
    options = ("-e", "COLOUR=blue", "-w", "/tmp", "-u", "7", "-h", "moon", "--add-host", "far:10.9.9.9")
    script = "env; pwd; id -u; hostname; grep far /etc/hosts"
    said = docker.lines("run", "--rm", *place.pin, *options, "busybox", "sh", "-c", script)
    assert "COLOUR=blue" in said
    assert not [line for line in said if "constraint" in line]
    assert said[-4:-1] == ["/tmp", "7", "moon"]
    assert said[-1].split() == ["10.9.9.9", "far"]


@pytest.mark.parametrize("size", [0, 5, 1_000_000])
def test_piped_input_ends_by_half_close_and_the_answer_comes_back(docker: Cli, place: Place, size: int) -> None:
    said = docker("run", "--rm", "-i", *place.pin, "busybox", "sh", "-c", "wc -c; echo end", input="x" * size)
    assert said.split() == [str(size), "end"]


def test_much_output_arrives_whole(docker: Cli, place: Place) -> None:
    said = docker("run", "--rm", *place.pin, "busybox", "sh", "-c", "yes 0123456789 | head -n 200000")
    assert said == "0123456789\n" * 200_000


def test_a_terminal_has_its_size_echo_and_exit_status(docker: Cli, place: Place) -> None:
    terminal = Terminal(docker, "run", "--rm", "-it", *place.pin, "busybox")
    terminal.shows("# ")
    # The client tells the size once its start has been answered, which a prompt may overtake.
    terminal.type("echo $((40+2)); until stty size 2>/dev/null; do sleep 1; done\n")
    terminal.shows("42\r\n33 99\r\n")
    terminal.type("exit 5\n")
    assert terminal.ends() == 5


def test_two_terminals_on_one_shell(docker: Cli, place: Place) -> None:
    docker("run", "-dit", "--name", "shell", *place.pin, "busybox")
    one, other = Terminal(docker, "attach", "shell"), Terminal(docker, "attach", "shell")
    one.type("echo $((6*7))\n")
    for terminal in (one, other):
        terminal.shows("42\r\n")
    other.type("exit 9\n")
    assert [one.ends(), other.ends()] == [9, 9]


def test_in_the_background(docker: Cli, place: Place) -> None:
    container = docker("run", "-d", "--name", "web", *place.pin, "busybox", "echo", "hello").strip()
    assert len(container) == 64
    assert docker("wait", "web") == "0\n"
    assert docker("logs", container[:12]) == "hello\n"
    assert docker.inspect("web")["Node"]["Name"] == place.node


def test_removes_itself_in_the_background(docker: Cli, place: Place, etcd: Etcd) -> None:
    docker("run", "-d", "--rm", "--init", "--name", "brief", *place.pin, "busybox", "sleep", "1000")
    docker("stop", "-t", "1", "brief")
    until(lambda: not docker.lines("ps", "-aq"), "the container is gone")
    until(lambda: not etcd.held(), "its claim is gone", 2)


def test_a_published_port_is_reached_where_inspect_says(docker: Cli, place: Place) -> None:
    docker("run", "-d", "--name", "web", *place.pin, "-p", "18080:80", "-p", "80", "nginx:alpine")
    bound = docker.inspect("web")["NetworkSettings"]["Ports"]["80/tcp"]
    address = docker.inspect("web")["Node"]["IP"]
    assert {one["HostIp"] for one in bound} == {address}
    assert len(bound) == 2 and "18080" in {one["HostPort"] for one in bound}
    assert sorted(docker.lines("port", "web")) == sorted(f"80/tcp -> {address}:{one['HostPort']}" for one in bound)
    assert f"{address}:18080->80/tcp" in docker("ps", "--format", "{{.Ports}}")
    for one in bound:
        url = f"http://{one['HostIp']}:{one['HostPort']}/"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=5) as page:
            assert b"Welcome" in page.read()


def test_a_taken_name_is_refused_in_dockers_words(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    container = sleeper("web", *place.pin)
    for proxy in (1, 2):
        refusal = docker.refused("run", "-d", "--name", "web", "busybox", to=proxy)
        assert f'The container name "/web" is already in use by container "{container}"' in refusal
        assert "You have to remove (or rename) that container" in refusal


def test_a_foreground_client_passes_signals_on(docker: Cli, place: Place) -> None:
    script = 'trap "echo told; exit 4" TERM; echo ready; while :; do sleep 0.1; done'
    with docker.start("run", "--rm", *place.pin, "busybox", "sh", "-c", script) as live:
        live.says("ready")
        live.process.send_signal(signal.SIGTERM)
        assert live.ends() == 4
        assert "told" in live.output


def test_what_cannot_run_stays_created_and_says_why(docker: Cli, place: Place) -> None:
    theirs = place.engine.run("run", "--rm", "busybox", "nonsense", check=False)
    ours = docker.run("run", "--name", "broken", *place.pin, "busybox", "nonsense", check=False)
    assert ours.returncode == theirs.returncode == 127
    assert ours.stderr.splitlines()[0].startswith(theirs.stderr.splitlines()[0])
    assert docker.inspect("broken")["State"]["Status"] == "created"


def test_an_unknown_image_is_asked_for_and_then_refused(docker: Cli) -> None:
    refusal = docker.refused("run", "--rm", "nosuch:1")
    assert refusal.startswith("Unable to find image 'nosuch:1' locally\n")
    assert "Error response from daemon: " in refusal
    assert docker.lines("ps", "-aq") == []
    with pytest.raises(CliError, match="No such image: nosuch:1"):
        docker("create", "--pull", "never", "nosuch:1")


def test_limits_and_restart_policies_are_the_engines(docker: Cli, place: Place) -> None:
    limits = ("-m", "64m", "--cpus", "0.5", "--restart", "on-failure:2")
    docker("run", "-d", "--name", "lim", *place.pin, *limits, "busybox", "sh", "-c", "exit 3")
    host = docker.inspect("lim")["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["RestartPolicy"]["Name"]) == (64 << 20, 500_000_000, "on-failure")
    until(lambda: docker.inspect("lim")["RestartCount"] == 2, "restarted twice")
    until(lambda: docker.lines("ps", "-a", "--format", "{{.Status}}")[0].startswith("Exited (3)"), "given up")


def test_health_is_shown(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("fit", *place.pin, "--health-cmd", "test -e /tmp/fit", "--health-interval=200ms", "--health-retries=1")
    until(lambda: "(unhealthy)" in docker("ps"), "unhealthy")
    docker("exec", "fit", "touch", "/tmp/fit")
    until(lambda: docker.lines("ps", "-q", "--filter", "health=healthy"), "healthy")
    assert "(healthy)" in docker("ps")
