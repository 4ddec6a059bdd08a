"""`swarmproxy lab …` as typed."""

from __future__ import annotations

import argparse

import pytest

from swarmproxy.cli import lab, main


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    lab.add_arguments(parser)
    return parser.parse_args(words)


def test_defaults() -> None:
    args = parsed("up")
    assert (args.name, args.nodes, args.subnet, args.ports, args.no_cluster) == ("swpl", None, None, None, False)


def test_environment_supplies_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARMPROXY_LAB", "mine")
    monkeypatch.setenv("SWARMPROXY_LAB_SUBNET", "10.9.9.0/24")
    monkeypatch.setenv("SWARMPROXY_LAB_PORTS", "1,2")
    monkeypatch.setenv("SWARMPROXY_LAB_NODES", "5")
    args = parsed("up")
    assert (args.name, args.subnet, args.ports, args.nodes) == ("mine", "10.9.9.0/24", "1,2", 5)
    assert parsed("--name", "other", "up", "--nodes", "2").nodes == 2


def test_command_after_a_double_dash() -> None:
    args = parsed("exec", "node-1", "--", "ls", "-l", "--all")
    assert (args.node, args.command[-3:]) == ("node-1", ["ls", "-l", "--all"])


@pytest.mark.parametrize(
    ("words", "part"),
    [(["kill", "1"], None), (["kill", "1", "--engine"], "engine"), (["stop", "node-2", "--agent"], "agent")],
)
def test_parts(words: list[str], part: str | None) -> None:
    assert parsed(*words).part == part


def test_engine_and_agent_exclude_each_other() -> None:
    with pytest.raises(SystemExit):
        parsed("kill", "1", "--engine", "--agent")


def test_dispatcher_offers_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert "lab" in main.offered()
    with pytest.raises(SystemExit) as stop:
        main.main(["--help"])
    assert stop.value.code == 0
    assert "real engines" in capsys.readouterr().out


def test_dispatcher_refuses_what_there_is_not() -> None:
    with pytest.raises(SystemExit) as stop:
        main.main(["nonsense"])
    assert stop.value.code == 2


def test_bad_name_is_said_not_thrown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["lab", "--name", "Bad-Name", "status"]) == 1
    assert "Bad-Name" in capsys.readouterr().err
