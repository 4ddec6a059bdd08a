"""Instants as clients write them."""

from __future__ import annotations

import pytest

from swarmproxy.model import moment
from swarmproxy.model.errors import BadRequest

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h30m", NOW - 5400),
        ("1.5h", NOW - 5400),
        ("90s", NOW - 90),
        ("100ms", NOW - 0.1),
        ("-10m", NOW + 600),
        ("1136073845", 1136073845.0),
        ("1136073845.5", 1136073845.5),
        ("2006-01-02T15:04:05Z", 1136214245.0),
        ("2006-01-02T15:04:05.500000001Z", 1136214245.5),
        ("2006-01-02T15:04:05+02:00", 1136207045.0),
        ("2006-01-02T15:04", 1136214240.0),
        ("2006-01-02T15", 1136214000.0),
        ("2006-01-02", 1136160000.0),
    ],
)
def test_an_instant(text: str, seconds: float) -> None:
    assert moment.parse(text, NOW) == pytest.approx(seconds, abs=1e-3)


@pytest.mark.parametrize("text", ["", "x", "1h2", "h", "2006-13-02", "2006-01-02T25:00:00Z", "--1h", "1d"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(BadRequest, match="failed to parse value as time or duration"):
        moment.parse(text, NOW)


def test_written() -> None:
    assert moment.written(0) == "0001-01-01T00:00:00Z"
    assert moment.rfc3339(moment.written(1136214245.5)) == 1136214245.5
