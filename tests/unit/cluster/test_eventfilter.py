from __future__ import annotations

from typing import Any

import pytest

from swarmproxy.cluster.eventfilter import compile_filter, moment, window
from swarmproxy.model.errors import BadRequest, DockerError

START = {
    "Type": "container",
    "Action": "start",
    "Actor": {
        "ID": "ab" * 32,
        "Attributes": {"name": "evening", "image": "busybox:1", "a": "1", "e": "", "node.name": "n1", "node.id": "N1"},
    },
    "scope": "local",
}
HEALTH = START | {"Action": "health_status: healthy"}
VOLUME: dict[str, Any] = {
    "Type": "volume",
    "Action": "mount",
    "Actor": {"ID": "evv", "Attributes": {"driver": "local"}},
}
IMAGE = {"Type": "image", "Action": "tag", "Actor": {"ID": "sha256:1", "Attributes": {"name": "h:5/busybox:1"}}}
PRUNE: dict[str, Any] = {"Type": "image", "Action": "prune", "Actor": {"ID": "", "Attributes": {"reclaimed": "0"}}}


@pytest.mark.parametrize(
    ("filters", "event", "passes"),
    [
        ({}, START, True),
        ({"event": []}, START, True),
        ({"event": ["start"]}, START, True),
        ({"event": ["stop", "start"]}, START, True),
        ({"event": ["star"]}, START, False),
        ({"event": ["health_status"]}, HEALTH, True),
        ({"event": ["health_status: healthy"]}, HEALTH, True),
        ({"event": ["health"]}, HEALTH, False),
        ({"type": ["container"]}, START, True),
        ({"type": ["image", "volume"]}, START, False),
        ({"container": ["ev"]}, START, True),
        ({"container": ["abab"]}, START, True),
        ({"container": ["ening"]}, START, False),
        ({"container": ["ev"]}, VOLUME, True),
        ({"volume": ["evv"]}, VOLUME, True),
        ({"network": ["x"]}, VOLUME, False),
        ({"image": ["busybox"]}, START, True),
        ({"image": ["busybox:1"]}, START, True),
        ({"image": ["busy"]}, START, False),
        ({"image": ["h:5/busybox"]}, IMAGE, True),
        ({"image": ["h"]}, IMAGE, False),
        ({"image": ["x"]}, PRUNE, False),
        ({"label": ["a"]}, START, True),
        ({"label": ["a=1"]}, START, True),
        ({"label": ["a=2"]}, START, False),
        ({"label": ["e="]}, START, True),
        ({"label": ["a=1", "b"]}, START, False),
        ({"label": ["a=1", "e"]}, START, True),
        ({"scope": ["local"]}, VOLUME, True),
        ({"scope": ["swarm"]}, START, False),
        ({"node": ["n1"]}, START, True),
        ({"node": ["N1"]}, START, True),
        ({"node": ["n2"]}, START, False),
        ({"event": ["start"], "type": ["volume"]}, START, False),
        ({"unknown": ["x"]}, START, True),
    ],
)
def test_filters(filters: dict[str, list[str]], event: dict[str, Any], passes: bool) -> None:
    assert compile_filter(filters)(event) is passes


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("", None),
        ("0", 0),
        ("1", 10**9),
        ("1.5", 1_500_000_000),
        ("1.000000001", 10**9 + 1),
        ("1.1234567899", 1123456789),
    ],
)
def test_moments(text: str, nanoseconds: int | None) -> None:
    assert moment(text) == nanoseconds


@pytest.mark.parametrize("text", ["abc", "1h", "2020-01-01", "1.x", " "])
def test_other_moments_are_refused_in_the_engines_words(text: str) -> None:
    with pytest.raises(DockerError, match=r"strconv.ParseInt: parsing") as caught:
        moment(text)
    assert caught.value.status == 500


def test_a_window_has_an_order() -> None:
    assert window("1", "2") == (10**9, 2 * 10**9)
    with pytest.raises(BadRequest, match=r"`since` time \(3\) cannot be after `until` time \(2\)"):
        window("3", "2")
