from __future__ import annotations

import pytest

from swarmproxy.model.records import Port
from swarmproxy.model.snapshot import Holding
from swarmproxy.scheduler import filters, strategies
from swarmproxy.scheduler.explain import explain
from swarmproxy.scheduler.place import NoNode, place
from tests.unit.scheduler.cluster import asking, node

SPREAD = strategies.by_name("spread")
FEW = filters.by_name(["health", "port"])


def test_a_placement() -> None:
    there = (
        node(1, container_count=5),
        node(2, ports=(Holding(80, holder="web-1"),)),
        node(10, container_count=2),
        node(11, healthy=False, ports=(Holding(80, holder="old"),)),
    )
    placed = place(asking(ports=(Port(port=80),)), there, SPREAD, filters=FEW)
    assert explain(placed).split("\n") == [
        "node     place  health  availability  platform  port  volume  network  resources",
        "node-10  1      ✔       ✔             ✔         ✔     ✔       ✔        ✔",
        "node-1   2      ✔       ✔             ✔         ✔     ✔       ✔        ✔",
        "node-2   -      ✔       ✔             ✔         ✘     ✔       ✔        ✔",
        "node-11  -      ✘       ✔             ✔         ✘     ✔       ✔        ✔",
        "node-2: port 80/tcp is taken by web-1",
        "node-11: unhealthy: no answer yet",
    ]


def test_what_was_given_up() -> None:
    placed = place(asking(constraints=("region==~eu",)), [node(1)], SPREAD)
    assert explain(placed).endswith("\ngiven up: region==eu")


def test_a_refusal() -> None:
    with pytest.raises(NoNode) as caught:
        place(asking(ports=(Port(port=80),)), [node(1, ports=(Holding(80, holder="w"),))], SPREAD, filters=FEW)
    assert explain(caught.value).split("\n") == [
        "Unable to find a node that satisfies the following conditions",
        "node    place  health  availability  platform  port  volume  network  resources",
        "node-1  -      ✔       ✔             ✔         ✘     ✔       ✔        ✔",
        "node-1: port 80/tcp is taken by w",
    ]


def test_an_empty_cluster() -> None:
    with pytest.raises(NoNode) as caught:
        place(asking(), [], SPREAD)
    assert explain(caught.value) == "No nodes available in the cluster"
