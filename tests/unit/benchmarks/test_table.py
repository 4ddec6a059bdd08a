from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import results, table
from benchmarks.footprint import Footprint
from benchmarks.rounds import Contender, measure
from benchmarks.table import Row, Suite

SAMPLES = {
    "proxy": {"": [[0.011], [0.012], [0.013]], "rm": [[0.1], [0.1], [0.1]]},
    "bare": {"": [[0.010], [0.010], [0.010]], "rm": [[0.1], [0.1], [0.1]]},
}


@pytest.mark.parametrize(
    ("limit", "met", "mark"),
    [
        ({"ratio": 1.35}, True, "✔"),
        ({"ratio": 1.25}, True, "✔ not sure"),
        ({"ratio": 1.15}, False, "✘ not sure"),
        ({"ratio": 1.05}, False, "✘"),
        ({"added": 0.004}, True, "✔"),
        ({"added": 0.0005}, False, "✘"),
        ({}, None, ""),
    ],
)
def test_a_row_meets_its_limit_or_not(limit: dict[str, float], met: bool | None, mark: str) -> None:
    found = table.judge(Row("x", "proxy", "bare", **limit), SAMPLES)
    assert (found.met, found.mark) == (met, mark)


def test_the_table_tells_ties_and_limits() -> None:
    suite = Suite("s", SAMPLES, [Row("all", "proxy", "bare", ratio=1.25), Row("  rm", "proxy", "bare", part="rm")])
    head, _, first, second = table.timings([suite]).splitlines()
    assert head.startswith("| what")
    assert "12.0 ms" in first and "10.0 ms" in first and "≤ 1.25×" in first and "✔" in first
    assert "1.00× [1.00–1.00] tie" in second
    assert len({len(line) for line in table.timings([suite]).splitlines()}) == 1


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    found = results.begin(containers=90, per_node=30, engines=["20.10.24"], idle_seconds=20)
    found.machine.load.append(1.5)
    found.suites.append(Suite("s", SAMPLES, [Row("all", "proxy", "bare", ratio=1.25)]))
    found.footprints.append(Footprint("proxy-1", 80 << 20, 40 << 20, 0.005))
    found.write(tmp_path / "deep" / "run.json")
    again = results.Results.read(tmp_path / "deep" / "run.json")
    assert again == found
    assert "40.0 MiB" in again.text() and "0.50 %" in again.text() and "90 containers" in again.text()


def test_every_contender_has_its_turn_in_every_round_and_warm_up_is_dropped() -> None:
    turns: list[str] = []

    def contender(name: str) -> Contender:
        def once() -> dict[str, float]:
            turns.append(name)
            return {"": float(len(turns)), "part": 0.0}

        return Contender(name, once)

    samples = measure([contender("a"), contender("b"), contender("c")], rounds=4, each=2, lead=1, warm=2)
    assert len(turns) == (4 + 2) * 3 * 3
    for name in "abc":
        assert [len(turn) for turn in samples[name][""]] == [2, 2, 2, 2]
        assert min(one for turn in samples[name][""] for one in turn) > 2 * 3 * 3
    for number in range(6):
        assert sorted(turns[number * 9 : number * 9 + 9]) == sorted("aaabbbccc")
