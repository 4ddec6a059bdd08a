"""Names, addresses, ports and what nodes see: all of it follows from a few words."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from swarmproxy.lab.plan import (
    Plan,
    PlanError,
    Target,
    Wish,
    check_name,
    mac,
    parse_ports,
    parse_state,
    parse_subnet,
    settle,
    sight,
)


@pytest.mark.parametrize(
    ("text", "kind", "number", "unit"),
    [
        ("node-3", "node", 3, "n3"),
        ("n3", "node", 3, "n3"),
        ("3", "node", 3, "n3"),
        ("proxy-2", "proxy", 2, "p2"),
        ("p2", "proxy", 2, "p2"),
        ("etcd", "etcd", 0, "etcd"),
    ],
)
def test_target_is_named_in_many_ways(text: str, kind: str, number: int, unit: str) -> None:
    target = Target.parse(text)
    assert (target.kind, target.number, target.unit) == (kind, number, unit)
    assert Target.parse(str(target)) == target


@pytest.mark.parametrize("text", ["", "0", "10", "node-0", "node-10", "nod-1", "etcd-1", "proxy-0", "../n1", "n1 "])
def test_target_that_cannot_be(text: str) -> None:
    with pytest.raises(PlanError):
        Target.parse(text)


@pytest.mark.parametrize("name", ["", "1a", "Swpl", "with-hyphen", "tenletters", "a b", "a/b", "cache", "é"])
def test_name_that_cannot_be(name: str) -> None:
    with pytest.raises(PlanError):
        check_name(name)


def test_names_fit_the_kernel_and_keep_labs_apart() -> None:
    plan = Plan(name="ninechars", subnet=IPv4Network("10.9.8.0/24"))
    names = [plan.switch, plan.host_link, *(plan.unit(target) for target in plan.targets)]
    assert all(len(name) <= 15 for name in names)
    assert len(set(names)) == len(names)
    assert not any(name.startswith("nine-") for name in names)


def test_addresses() -> None:
    plan = Plan(subnet=IPv4Network("10.9.8.0/24"))
    assert [plan.address(target.number) for target in plan.targets] == ["10.9.8.1", "10.9.8.2", "10.9.8.3"]
    assert (plan.etcd_address, plan.host_address) == ("10.9.8.250", "10.9.8.254")
    assert plan.etcd_url == "etcd://10.9.8.250:2379"


def test_hardware_addresses_are_fixed_local_and_differ() -> None:
    plan = Plan()
    seen = [mac(plan.address(octet)) for octet in (*range(1, 10), 250)]
    assert len(set(seen)) == len(seen)
    assert mac("10.232.0.10") == "02:53:57:50:4c:0a"
    assert all(int(one[:2], 16) & 3 == 2 for one in seen)  # local, not multicast


@pytest.mark.parametrize(
    ("nodes", "ports"), [(0, (1, 2)), (10, (1, 2)), (3, ()), (3, (5, 5)), (3, (0, 1)), (3, (65536,))]
)
def test_plan_that_cannot_be(nodes: int, ports: tuple[int, ...]) -> None:
    with pytest.raises(PlanError):
        Plan(nodes=nodes, ports=ports)


@pytest.mark.parametrize("text", ["10.0.0.0/16", "10.0.0.1/24", "x", "10.0.0.0/24/1", "fd00::/64"])
def test_subnet_that_cannot_be(text: str) -> None:
    with pytest.raises(PlanError):
        parse_subnet(text)


def test_ports_from_a_command_line() -> None:
    assert parse_ports("3375,3376") == (3375, 3376)
    with pytest.raises(PlanError):
        parse_ports("3375;3376")


class TestSettle:
    """What is asked goes before what is remembered, and that before what is free."""

    def test_default_lab(self) -> None:
        plan = settle(Wish(), states={})
        assert (plan.subnet, plan.ports, plan.nodes) == (IPv4Network("10.232.0.0/24"), (3375, 3376), 3)

    def test_another_lab_never_gets_the_default_labs_place(self) -> None:
        plan = settle(Wish(name="t"), states={})
        assert plan.subnet == IPv4Network("10.233.0.0/24")
        assert not set(plan.ports) & {3375, 3376}

    def test_remembered(self) -> None:
        first = settle(
            Wish(name="t", subnet=IPv4Network("10.7.7.0/24"), ports=(1, 2), nodes=5, cluster=False), states={}
        )
        again = settle(Wish(name="t"), states={"t": first.state()})
        assert again == first

    def test_asked_again_differently(self) -> None:
        first = settle(Wish(name="t", nodes=5), states={})
        again = settle(Wish(name="t", nodes=2), states={"t": first.state()})
        assert (again.nodes, again.subnet) == (2, first.subnet)

    def test_beside_others(self) -> None:
        states = {"a": settle(Wish(name="a"), states={}).state()}
        states["b"] = settle(Wish(name="b"), states=states).state()
        plan = settle(Wish(name="c"), states=states)
        taken = [parse_state(text) for text in states.values()]
        assert all(not plan.subnet.overlaps(one["subnet"]) for one in taken)
        assert all(not set(plan.ports) & set(one["ports"]) for one in taken)

    def test_not_in_anothers_place(self) -> None:
        states = {"a": Plan(name="a", subnet=IPv4Network("10.7.7.0/24"), ports=(1,)).state()}
        with pytest.raises(PlanError, match="'a'"):
            settle(Wish(name="b", subnet=IPv4Network("10.7.7.0/24")), states=states)
        with pytest.raises(PlanError, match="'a'"):
            settle(Wish(name="b", ports=(1, 2)), states=states)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '{"subnet": 3}',
        '{"subnet": "10.0.0.0/24", "ports": null, "nodes": 3, "cluster": true}',
        '{"subnet": "10.0.0.0/24", "ports": ["x"], "nodes": 3, "cluster": true}',
        '{"subnet": "10.0.0.0/8", "ports": [1], "nodes": 3, "cluster": true}',
    ],
)
def test_state_that_is_not_understood_is_forgotten(text: str) -> None:
    assert parse_state(text) == {}
    assert settle(Wish(), states={"swpl": text, "other": text}) == Plan()


def test_state_is_plain_json() -> None:
    assert json.loads(Plan().state()) == {"subnet": "10.232.0.0/24", "ports": [3375, 3376], "nodes": 3, "cluster": True}


class TestSight:
    """Nodes do not see the folders clients work in, but they do see what the agent is made of."""

    def test_checkout_in_a_home(self) -> None:
        seen = sight(
            needed=[Path("/home/u/p/swarmproxy"), Path("/home/u/p/.venv"), Path("/usr")],
            clients=[Path("/home"), Path("/home/u/p"), Path("/root")],
        )
        assert seen.hide == (Path("/home"), Path("/root"))
        assert seen.keep == (Path("/home/u/p/.venv"), Path("/home/u/p/swarmproxy"))

    def test_needed_inside_needed_is_put_back_once(self) -> None:
        seen = sight(needed=[Path("/root/.venv"), Path("/root/.venv/bin")], clients=[Path("/root")])
        assert seen.keep == (Path("/root/.venv"),)

    def test_folder_inside_something_needed_stays(self) -> None:
        assert sight(needed=[Path("/work/p")], clients=[Path("/work/p/sub"), Path("/work/p")]).hide == ()

    @pytest.mark.parametrize("folder", ["/", "/usr", "/etc/docker", "/var/lib", "/run/x", "/proc", "/sys"])
    def test_the_system_is_never_hidden(self, folder: str) -> None:
        assert sight(needed=[], clients=[Path(folder)]).hide == ()
