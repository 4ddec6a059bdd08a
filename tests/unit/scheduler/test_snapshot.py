from __future__ import annotations

import pytest

from swarmproxy.model.records import Port
from swarmproxy.model.snapshot import Holding
from tests.unit.scheduler.cluster import node


@pytest.mark.parametrize(
    ("held", "wanted", "clash"),
    [
        ("", "", True),
        ("", "10.0.0.1", True),
        ("10.0.0.1", "", True),
        ("", "::1", True),
        ("0.0.0.0", "10.0.0.1", True),
        ("10.0.0.1", "0.0.0.0", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("::", "10.0.0.1", False),
        ("0.0.0.0", "::", False),
        ("::", "fd00::1", True),
        ("fd00::1", "fd00:0::1", True),
        ("[fd00::1]", "fd00::1", True),
        ("fd00::1", "fd00::2", False),
        ("myhost", "10.0.0.1", True),
    ],
)
def test_which_addresses_clash(held: str, wanted: str, clash: bool) -> None:
    assert Holding(80, "tcp", held).clashes(Port(port=80, ip=wanted)) is clash


def test_number_and_protocol_count() -> None:
    assert not Holding(80, "tcp").clashes(Port(port=81))
    assert not Holding(80, "tcp").clashes(Port(port=80, protocol="udp"))


def test_all_holders_of_a_port_are_found_again_and_again() -> None:
    a, b, c = Holding(80, ip="10.0.0.1", holder="a"), Holding(80, ip="10.0.0.2", holder="b"), Holding(81, holder="c")
    snapshot = node(1, ports=(a, b, c))
    for _ in range(2):
        assert snapshot.holders(Port(port=80)) == [a, b]
        assert snapshot.holders(Port(port=80, ip="10.0.0.2")) == [b]
        assert snapshot.holders(Port(port=82)) == []
    assert snapshot == node(1, ports=(a, b, c)), "the index is no part of the value"
