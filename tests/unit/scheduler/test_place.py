from __future__ import annotations

import ast
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import swarmproxy.scheduler
from swarmproxy.model.errors import DockerError
from swarmproxy.model.records import Port
from swarmproxy.model.snapshot import ContainerFact, Holding, NodeSnapshot, Use
from swarmproxy.scheduler import filters, strategies
from swarmproxy.scheduler.place import LINES, NoNode, Placement, place
from swarmproxy.scheduler.request import Bond, Request
from tests.unit.scheduler.cluster import CPU, GIB, asking, node, nodes, with_one_more

SPREAD = strategies.by_name("spread")


def refusal(request: Request, *there: NodeSnapshot) -> list[str]:
    with pytest.raises(NoNode) as caught:
        place(request, there, SPREAD)
    assert isinstance(caught.value, DockerError)
    assert caught.value.status == 500
    return caught.value.message.split("\n")


def test_no_nodes() -> None:
    assert refusal(asking()) == ["No nodes available in the cluster"]


def test_no_healthy_node() -> None:
    sick = {"healthy": False, "health_reason": "connection refused"}
    assert refusal(asking(constraints=("node==x",)), node(1, **sick), node(2, healthy=False)) == [
        "No healthy node available in the cluster",
        "node-1: unhealthy: connection refused",
        "node-2: unhealthy: no answer yet",
    ]


def test_no_resources() -> None:
    assert refusal(asking(memory=GIB), node(1, memory_reserved=8 * GIB), node(2, healthy=False)) == [
        "no resources available to schedule container",
        "node-1: 1 GiB of memory are asked for, 0 B of 8 GiB are free",
        "node-2: unhealthy: no answer yet",
    ]


def test_a_refusal_lists_what_was_asked_as_classic_swarm_did_and_why_node_by_node() -> None:
    request = asking(ports=(Port(port=80), Port(port=443)), constraints=("region==eu", "storage!=hdd"))
    there = (
        node(10, labels={"region": "us"}),
        node(2, labels={"region": "eu"}, ports=(Holding(80, holder="web-1"),)),
        node(3, labels={"region": "us"}, ports=(Holding(443, holder="web-2"),)),
    )
    assert refusal(request, *there) == [
        "Unable to find a node that satisfies the following conditions ",
        "[port 80 (Bridge mode) port 443 (Bridge mode)]",
        "[available container slots]",
        "[region==eu (soft=false) storage!=hdd (soft=false)]",
        "node-2: port 80/tcp is taken by web-1",
        "node-3: port 443/tcp is taken by web-2; constraint region==eu does not hold: region is us",
        "node-10: constraint region==eu does not hold: region is us",
    ]


def test_conditions_end_with_the_filter_that_took_the_last_node() -> None:
    request = asking(ports=(Port(port=80),), constraints=("region==eu",))
    assert refusal(request, node(1, ports=(Holding(80, holder="web-1"),)))[:2] == [
        "Unable to find a node that satisfies the following conditions ",
        "[port 80 (Bridge mode)]",
    ]


def test_host_mode_is_named() -> None:
    request = asking(ports=(Port(port=80),), host_network=True)
    assert refusal(request, node(1, ports=(Holding(80, holder="w"),)))[1] == "[port 80/tcp (Host mode)]"


def test_a_long_refusal_counts() -> None:
    taken = nodes(LINES + 3, ports=(Holding(80, holder="w"),))
    lines = refusal(asking(ports=(Port(port=80),)), *taken, node(99, healthy=False))
    assert lines[-2] == f"node-{LINES}: port 80/tcp is taken by w"
    assert lines[-1] == "and 4 more nodes: 3 by port, 1 by health"


def test_soft_expressions_hold_when_they_can() -> None:
    request = asking(constraints=("region==~eu",))
    placed = place(request, (node(1), node(2, labels={"region": "eu"}, container_count=9)), SPREAD)
    assert [each.name for each in placed.candidates] == ["node-2"]
    assert placed.dropped == ()


def test_soft_expressions_are_given_up_together() -> None:
    request = asking(constraints=("region==~eu", "storage==~ssd", "node!=node-3"), affinities=("container==~db",))
    there = (node(1, labels={"region": "eu"}), node(2, labels={"storage": "ssd"}), node(3))
    placed = place(request, there, SPREAD)
    assert {each.name for each in placed.candidates} == {"node-1", "node-2"}
    assert placed.dropped == ("container==db", "region==eu", "storage==ssd")


def test_soft_expressions_are_given_up_for_resources_too() -> None:
    there = (node(1, memory_reserved=8 * GIB), node(2))
    assert place(asking(memory=GIB, constraints=("node==~node-1",)), there, SPREAD).candidates[0].name == "node-2"


def test_a_refusal_speaks_of_hard_conditions_only() -> None:
    lines = refusal(asking(constraints=("region==~eu", "node==x1")), node(1))
    assert "[node==x1 (soft=false)]" in lines
    assert lines[-1] == "node-1: constraint node==x1 does not hold: node is node-1"


def test_the_table_is_whole() -> None:
    request = asking(ports=(Port(port=80),), constraints=("node!=node-2",))
    placed = place(request, (node(1), node(2, ports=(Holding(80, holder="w"),))), SPREAD)
    names = [entry.name for entry in filters.FILTERS]
    assert [name for name, _ in placed.table["node-1"]] == names
    assert [name for name, reason in placed.table["node-1"] if reason] == []
    assert [name for name, reason in placed.table["node-2"] if reason] == ["port", "constraint"]


def test_only_the_chosen_filters_are_asked() -> None:
    request = asking(ports=(Port(port=80),))
    taken = (node(1, ports=(Holding(80, holder="w"),)),)
    assert place(request, taken, SPREAD, filters=filters.by_name(["health"])).candidates == taken


def test_the_scheduler_knows_nothing_but_the_model() -> None:
    folder = Path(swarmproxy.scheduler.__file__).parent
    files = list(folder.rglob("*.py"))
    assert len(files) > 20
    for path in files:
        for found in ast.walk(ast.parse(path.read_text())):
            if isinstance(found, ast.ImportFrom | ast.Import):
                names = (
                    [found.module or ""] if isinstance(found, ast.ImportFrom) else [each.name for each in found.names]
                )
                for name in names:
                    assert not name.startswith("swarmproxy.") or name.split(".")[1] in ("model", "scheduler"), path


# Properties ----------------------------------------------------------------------------------------------------------

UNITS = st.sampled_from(["", "p/web/1", "p/web/2"])
PORTS = st.lists(
    st.builds(
        Port,
        port=st.sampled_from([80, 443]),
        protocol=st.sampled_from(["tcp", "udp"]),
        ip=st.sampled_from(["", "0.0.0.0", "10.0.0.1", "::1"]),
    ),
    max_size=2,
).map(tuple)
HOLDINGS = st.lists(
    st.builds(
        Holding,
        port=st.sampled_from([80, 443]),
        protocol=st.sampled_from(["tcp", "udp"]),
        ip=st.sampled_from(["", "10.0.0.1", "10.0.0.2"]),
        holder=st.just("holder"),
        unit=UNITS,
    ),
    max_size=3,
).map(tuple)
CONTAINERS = st.lists(
    st.builds(
        ContainerFact,
        id=st.sampled_from(["c1", "c2"]),
        name=st.sampled_from(["db", "web"]),
        labels=st.dictionaries(st.just("tier"), st.sampled_from(["a", "b"])),
    ),
    max_size=2,
)
FACTS: dict[str, st.SearchStrategy[Any]] = {
    "labels": st.dictionaries(st.sampled_from(["region", "containerslots"]), st.sampled_from(["eu", "us", "2"])),
    "healthy": st.sampled_from([True, True, True, False]),
    "availability": st.sampled_from(["active", "active", "active", "drain"]),
    "agent": st.booleans(),
    "architecture": st.sampled_from(["x86_64", "aarch64"]),
    "cpu_reserved": st.integers(0, 5).map(lambda cores: cores * CPU),
    "memory_reserved": st.integers(0, 9).map(lambda gib: gib * GIB),
    "container_count": st.integers(0, 4),
    "units": st.dictionaries(UNITS, st.just(Use(CPU, GIB, 1)), max_size=1),
    "ports": HOLDINGS,
    "containers": CONTAINERS,
    "images": st.frozensets(st.sampled_from(["sha256:a", "nginx:1"])),
    "networks_unavailable": st.dictionaries(st.just("net"), st.just("in use"), max_size=1),
}
WORDS = ["node==node-1", "node!=node-2", "region==eu", "region!=~us", "region==~eu", "node==~/node-[34]/"]
NEAR = ["container==db", "container!=~web", "tier!=a", "image==~nginx"]


def seldom(wanted: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly (): requests with all conditions at once fit nowhere and prove little."""
    return st.integers(0, 3).flatmap(lambda chance: wanted if chance == 3 else st.just(()))


REQUESTS = st.builds(
    asking,
    name=st.text("abc", max_size=3),
    image_id=st.sampled_from(["", "sha256:a"]),
    cpu=st.sampled_from([0, CPU]),
    memory=st.sampled_from([0, GIB]),
    ports=seldom(PORTS),
    unit=UNITS,
    constraints=seldom(st.lists(st.sampled_from(WORDS), min_size=1, max_size=2).map(tuple)),
    affinities=seldom(st.sampled_from(NEAR).map(lambda word: (word,))),
    whitelists=seldom(st.sampled_from([("any==node-1|node-3",), ("any==~node-2",)])),
    platform=st.sampled_from(["", "", "linux/amd64"]),
    needs_overlay=st.sampled_from([False, False, True]),
    networks=seldom(st.just(("net",))),
    volume_homes=seldom(st.just((Bond("volume v", "v", "id-1", "node-1"),))),
)


@st.composite
def clusters(draw: st.DrawFn) -> list[NodeSnapshot]:
    count = draw(st.integers(1, 6))
    return [node(number, **draw(st.fixed_dictionaries({}, optional=FACTS))) for number in range(1, count + 1)]


def outcome(request: Request, there: list[NodeSnapshot], name: str = "spread") -> Placement | str:
    try:
        return place(request, there, strategies.by_name(name, random.Random(7)))
    except NoNode as refused:
        return refused.message


@given(REQUESTS, clusters(), st.sampled_from(strategies.NAMES))
def test_no_candidate_is_refused_by_a_filter_and_no_other_node_passes(
    request: Request, there: list[NodeSnapshot], name: str
) -> None:
    placed = outcome(request, there, name)
    hard = request.hardened() if isinstance(placed, str) or placed.dropped else request
    fit = {each.id for each in there if not any(entry.check(hard, each) for entry in filters.FILTERS)}
    assert fit == (set() if isinstance(placed, str) else {each.id for each in placed.candidates})


@given(REQUESTS, clusters(), st.sampled_from(strategies.NAMES), st.randoms())
def test_the_order_of_the_nodes_means_nothing(
    request: Request, there: list[NodeSnapshot], name: str, rng: random.Random
) -> None:
    shuffled = list(there)
    rng.shuffle(shuffled)
    assert outcome(request, shuffled, name) == outcome(request, there, name)


def test_even_chance_does_not_depend_on_the_order_of_the_nodes() -> None:
    there = nodes(6)
    winners = {
        place(asking(), order, strategies.by_name("random", random.Random(3))).candidates[0].name
        for order in (there, there[::-1], there[3:] + there[:3])
    }
    assert len(winners) == 1


@given(REQUESTS, clusters(), st.fixed_dictionaries({}, optional=FACTS))
def test_one_more_node_never_makes_a_request_unplaceable(
    request: Request, there: list[NodeSnapshot], facts: dict[str, Any]
) -> None:
    if isinstance(outcome(request, there), Placement):
        assert isinstance(outcome(request, [*there, node(9, **facts)]), Placement)


@given(REQUESTS, clusters())
def test_a_refusal_names_every_node(request: Request, there: list[NodeSnapshot]) -> None:
    refused = outcome(request, there)
    if isinstance(refused, str):
        tail = refused.split("\n")[-len(there) :]
        assert [line.partition(": ")[0] for line in tail] == [each.name for each in there]
        assert all(line.partition(": ")[2] for line in tail)


@given(st.integers(1, 6), st.lists(st.text("abcd", max_size=4), max_size=30))
def test_spread_keeps_plain_containers_within_one(count: int, names: list[str]) -> None:
    there = {each.name: each for each in nodes(count)}
    for name in names:
        request = asking(name=name)
        winner = place(request, there.values(), SPREAD).candidates[0]
        there[winner.name] = with_one_more(winner, request)
        counts = Counter({each.name: each.container_count for each in there.values()})
        assert max(counts.values()) - min(counts.values()) <= 1


def test_a_thousand_nodes_take_few_milliseconds() -> None:
    there = nodes(1000, labels={"region": "eu"}, ports=tuple(Holding(8000 + each) for each in range(30)))
    request = asking(
        name="web",
        cpu=CPU,
        memory=GIB,
        ports=(Port(port=80), Port(port=443)),
        constraints=("region==e*",),
        needs_overlay=True,
        networks=("net",),
    )
    times = []
    for _ in range(10):
        started = time.process_time()
        assert len(place(request, there, SPREAD).candidates) == 1000
        times.append(time.process_time() - started)
    assert min(times) < 0.008
