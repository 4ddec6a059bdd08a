from __future__ import annotations

import pytest

from swarmproxy.cluster.swap import FEW, swap


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, 200])
def test_known_ids_are_replaced_and_all_else_stays_however_many_are_known(count: int) -> None:
    ids = {f"{number:064x}".encode(): f"{number + 10**6:064x}".encode() for number in range(count)}
    known, stranger = next(iter(ids)), b"f" * 64
    body = b'{"NetworkID":"%b","Id":"%b","Text":"network %b not found: %b"}' % (known, stranger, known, known)
    assert swap(body, ids) == body.replace(known, ids[known])
    assert swap(b"{}", ids) == b"{}"


def test_without_ids_the_bytes_are_the_same_object() -> None:
    body = b"f" * 64
    assert swap(body, {}) is body
