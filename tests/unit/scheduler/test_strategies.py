from __future__ import annotations

import random

import pytest

from swarmproxy.model.snapshot import Use
from swarmproxy.scheduler import strategies
from swarmproxy.scheduler.place import place
from swarmproxy.scheduler.strategies.weight import weigh
from tests.unit.scheduler.cluster import CPU, GIB, asking, node, nodes, with_one_more

SPREAD, BINPACK = strategies.by_name("spread"), strategies.by_name("binpack")


@pytest.mark.parametrize(
    ("cpu", "memory", "cpu_reserved", "memory_reserved", "weight"),
    [
        # asked           there already         (reserved + asked) · 100 ÷ total, 100 where not asked
        (0, 0, 0, 0, 200),
        (0, 0, 3 * CPU, 7 * GIB, 200),
        (CPU, 0, 0, 0, 125),
        (CPU, 0, CPU, 0, 150),
        (CPU, 0, 3 * CPU, 0, 200),
        (0, GIB, 0, 0, 112),
        (0, GIB, 0, 3 * GIB, 150),
        (CPU, GIB, 0, 0, 37),
        (2 * CPU, 4 * GIB, 2 * CPU, 4 * GIB, 200),
        (CPU // 1000, 0, 0, 0, 100),
    ],
)
def test_weights_are_classic_swarms(
    cpu: int, memory: int, cpu_reserved: int, memory_reserved: int, weight: int
) -> None:
    there = node(1, cpu_reserved=cpu_reserved, memory_reserved=memory_reserved)
    assert weigh(asking(cpu=cpu, memory=memory), there) == weight


def test_what_is_replaced_weighs_nothing() -> None:
    there = node(1, cpu_reserved=2 * CPU, units={"p/web/1": Use(CPU, 0, 1)})
    assert weigh(asking(cpu=CPU, unit="p/web/1"), there) == 150
    assert weigh(asking(cpu=CPU, unit="p/web/2"), there) == 175


def test_a_node_without_known_totals_does_not_divide_by_zero() -> None:
    assert weigh(asking(cpu=CPU), node(1, cpu_total=0)) == 200


def ranked(strategy: strategies.Strategy, *there: object, **request: object) -> list[str]:
    return [each.name for each in place(asking(**request), there, strategy).candidates]  # type: ignore[arg-type]


def test_spread_takes_the_least_full_then_the_one_with_fewest_containers() -> None:
    there = (
        node(1, memory_reserved=4 * GIB, container_count=0),
        node(2, memory_reserved=GIB, container_count=2),
        node(3, memory_reserved=GIB, container_count=1),
    )
    assert ranked(SPREAD, *there, memory=GIB) == ["node-3", "node-2", "node-1"]
    assert ranked(SPREAD, *there) == ["node-1", "node-3", "node-2"]


def test_binpack_takes_the_fullest_that_has_room() -> None:
    there = (
        node(1, memory_reserved=8 * GIB, container_count=9),
        node(2, memory_reserved=4 * GIB, container_count=2),
        node(3, memory_reserved=4 * GIB, container_count=1),
        node(4),
    )
    assert ranked(BINPACK, *there, memory=GIB) == ["node-2", "node-3", "node-4"]
    assert ranked(BINPACK, *there) == ["node-1", "node-2", "node-3", "node-4"]


def test_among_equals_the_one_that_holds_the_image() -> None:
    there = (
        *nodes(5),
        node(6, images=frozenset({"sha256:a"})),
        node(7, images=frozenset({"sha256:a"}), container_count=1),
    )
    assert ranked(SPREAD, *there, image_id="sha256:a")[0] == "node-6"
    assert ranked(SPREAD, *there, image_id="sha256:a")[-1] == "node-7", "fewer containers count more than an image"


def test_a_replacement_stays_where_it_is_among_equals() -> None:
    there = (node(1, container_count=3), node(2, container_count=3, units={"p/web/1": Use(0, 0, 1)}))
    for name in "abcdefgh":
        assert ranked(SPREAD, *there, name=name, unit="p/web/1")[0] == "node-2"


def test_equals_are_drawn_by_name_fairly_and_alike_everywhere() -> None:
    winners = [ranked(SPREAD, *nodes(4), name=f"c{number}")[0] for number in range(400)]
    for each in nodes(4):
        assert 60 < winners.count(each.name) < 140
    assert winners[:4] == [ranked(SPREAD, *nodes(4), name=f"c{number}")[0] for number in range(4)]
    assert ranked(SPREAD, *nodes(4), name="web") == ["node-1", "node-4", "node-3", "node-2"], "as everywhere"


def test_random_reaches_every_node_and_obeys_its_generator() -> None:
    def run(seed: int) -> list[str]:
        strategy = strategies.by_name("random", random.Random(seed))
        return [ranked(strategy, *nodes(3))[0] for _ in range(40)]

    assert set(run(1)) == {"node-1", "node-2", "node-3"}
    assert run(1) == run(1)
    assert run(1) != run(2)


def test_random_checks_resources_too() -> None:
    strategy = strategies.by_name("random", random.Random(1))
    assert ranked(strategy, node(1, cpu_reserved=4 * CPU), node(2), cpu=CPU) == ["node-2"]


def test_binpack_fills_a_node_before_the_next() -> None:
    there = {each.name: each for each in nodes(3)}
    request = asking(memory=2 * GIB)
    for _ in range(12):
        winner = place(request, there.values(), BINPACK).candidates[0]
        there[winner.name] = with_one_more(winner, request)
        half = [each for each in there.values() if 0 < each.memory_reserved < each.memory_total]
        assert len(half) <= 1
    assert all(each.memory_reserved == each.memory_total for each in there.values())


def test_choosing_a_strategy() -> None:
    assert [strategies.by_name(name).name for name in (*strategies.NAMES, "binpacking")] == [
        "spread",
        "binpack",
        "random",
        "binpack",
    ]
    assert strategies.by_name().name == "spread"
    with pytest.raises(ValueError, match="^unknown strategy 'spred': choose from spread, binpack, random$"):
        strategies.by_name("spred")
