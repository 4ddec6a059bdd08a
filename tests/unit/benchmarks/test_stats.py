from __future__ import annotations

import random

import pytest

from benchmarks import stats


def rounds(rng: random.Random, middle: float, count: int = 20, each: int = 5) -> list[list[float]]:
    return [[rng.gauss(middle, middle / 10) for _ in range(each)] for _ in range(count)]


def test_the_ratio_is_that_of_the_medians_and_lies_within_its_bounds() -> None:
    rng = random.Random(1)
    found = stats.ratio(rounds(rng, 0.2), rounds(rng, 0.1))
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(2.0, rel=0.1)
    assert not found.covers(1.0)


def test_alike_is_a_tie_nineteen_times_of_twenty() -> None:
    rng = random.Random(2)
    ties = sum(stats.ratio(rounds(rng, 0.1, 12, 1), rounds(rng, 0.1, 12, 1)).covers(1.0) for _ in range(40))
    assert ties >= 34


def test_a_difference_is_in_seconds() -> None:
    rng = random.Random(3)
    found = stats.difference(rounds(rng, 0.0105), rounds(rng, 0.01))
    assert found.value == pytest.approx(0.0005, abs=0.0005)
    assert found.low < found.high


def test_what_slows_both_alike_leaves_the_ratio_sure() -> None:
    """The same rounds are drawn for both sides."""
    rng = random.Random(4)
    weather = [rng.choice((1.0, 3.0)) for _ in range(20)]
    one = [[0.2 * slow] for slow in weather]
    other = [[0.1 * slow] for slow in weather]
    found = stats.ratio(one, other)
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)


def test_the_same_samples_give_the_same_bounds() -> None:
    rng = random.Random(5)
    one, other = rounds(rng, 0.1), rounds(rng, 0.2)
    assert stats.ratio(one, other) == stats.ratio(one, other)


def test_outliers_do_not_move_a_median() -> None:
    assert stats.median([[1.0, 1.0, 900.0], [1.0]]) == 1.0


def test_quantiles_are_samples() -> None:
    samples = [[float(number) for number in range(100)]]
    assert stats.quantile(samples, 0.9) == 90.0
    assert stats.quantile(samples, 1.0) == 99.0


def test_what_was_not_measured_together_is_not_compared() -> None:
    with pytest.raises(ValueError, match="not measured together"):
        stats.ratio([[1.0]], [[1.0], [1.0]])
