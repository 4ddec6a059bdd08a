"""exec and attach: byte tunnels with an end in each direction, made through one proxy and used through the other."""

from __future__ import annotations

import subprocess

import pytest

from tests.clients.conftest import Place, Sleeper
from tests.clients.terminal import Terminal
from tests.shared_lab import Cli, until


def test_output_errors_and_status(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("box", *place.pin)
    done = docker.run("exec", "box", "sh", "-c", "echo out; echo err >&2; exit 6", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 6)
    options = ("-e", "COLOUR=blue", "-w", "/tmp", "-u", "7")
    assert docker("exec", *options, "box", "sh", "-c", "echo $COLOUR; pwd; id -u").split() == ["blue", "/tmp", "7"]


@pytest.mark.parametrize("size", [0, 7, 2_000_000])
def test_piped_input_ends_and_the_answer_follows(docker: Cli, sleeper: Sleeper, place: Place, size: int) -> None:
    sleeper("box", *place.pin)
    said = docker("exec", "-i", "box", "sh", "-c", "wc -c; echo end", input="x" * size)
    assert said.split() == [str(size), "end"]


def test_bytes_pass_both_ways_unharmed(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("box", *place.pin)
    content = bytes(range(256)) * 8000
    command = ["docker", "exec", "-i", "box", "cat"]
    done = subprocess.run(command, input=content, env=docker.environment(), capture_output=True, timeout=30, check=True)
    assert done.stdout == content


def test_on_a_terminal(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("box", *place.pin)
    terminal = Terminal(docker, "exec", "-it", "box", "sh")
    terminal.shows("# ")
    terminal.type("stty size; tty\n")
    terminal.shows("33 99\r\n/dev/pts/")
    terminal.type("exit 8\n")
    assert terminal.ends() == 8
    assert docker("exec", "-t", "box", "tty").startswith("/dev/pts/")


def test_in_the_background(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("box", *place.pin)
    assert docker("exec", "-d", "box", "touch", "/tmp/done") == ""
    until(lambda: docker.run("exec", "box", "test", "-e", "/tmp/done", check=False).returncode == 0, "it ran")


@pytest.mark.parametrize("verb", ["stop -t 1", "pause"])
def test_refused_where_nothing_runs(docker: Cli, sleeper: Sleeper, place: Place, verb: str) -> None:
    sleeper("box", *place.pin)
    docker(*verb.split(), "box")
    theirs = place.engine.refused("exec", "box", "true")
    assert docker.refused("exec", "box", "true").startswith(theirs.strip())


def test_what_cannot_run_is_told_as_the_engine_tells(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("box", *place.pin)
    ours, theirs = (cli.run("exec", "box", "nonsense", check=False) for cli in (docker, place.engine))
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


def test_attach_speaks_and_hears_through_either_proxy(docker: Cli, place: Place) -> None:
    script = 'while read line; do echo "got $line"; done; echo end'
    docker("run", "-di", "--name", "echo", *place.pin, "busybox", "sh", "-c", script)
    with (
        docker.start("attach", "echo", to=1, stdin=subprocess.PIPE) as one,
        docker.start("attach", "--no-stdin", "echo", to=2) as two,
    ):

        def heard(word: str) -> bool:
            one.write(f"{word}\n")
            return f"got {word}\n" in one.output and f"got {word}\n" in two.output

        until(lambda: heard("this"), "both are attached")  # what was said before, nobody hears
        one.write("that\n")
        for live in (one, two):
            live.says("got that\n")
    assert docker("logs", "echo").endswith("got that\n")  # a client that is gone takes nothing with it
    assert docker.inspect("echo")["State"]["Running"]


def test_the_last_input_ends_a_container_that_was_run_with_it(docker: Cli, place: Place) -> None:
    with docker.start("run", "--rm", "-i", *place.pin, "busybox", "cat", stdin=subprocess.PIPE) as live:
        live.write("one\n")
        live.says("one\n")
        live.write("two\n")
        live.close_input()
        assert live.ends() == 0
        assert live.output == "one\ntwo\n"


def test_exec_goes_on_when_its_client_is_gone(docker: Cli, sleeper: Sleeper, place: Place) -> None:
    sleeper("box", *place.pin)
    with docker.start("exec", "box", "sh", "-c", "echo here; while :; do sleep 0.1; done") as live:
        live.says("here")
    assert "while :" in docker("top", "box")
