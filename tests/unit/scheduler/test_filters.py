from __future__ import annotations

from typing import Any

import pytest

from swarmproxy.model.records import Port
from swarmproxy.model.snapshot import ContainerFact, Holding, Use
from swarmproxy.scheduler import filters
from swarmproxy.scheduler.reason import Bytes, Cpus, Reason
from swarmproxy.scheduler.request import Bond
from tests.unit.scheduler.cluster import CPU, GIB, asking, node

CHECK = {entry.name: entry.check for entry in filters.FILTERS}
WEB = Holding(80, "tcp", "", "web-1", "p/web/1")
DB = ContainerFact("c" * 64, "db", {"tier": "back"})
HERE, THERE = Bond("--net=container:db", "db", "id-1", "node-1"), Bond("--net=container:db", "db", "id-3", "node-3")

TABLE: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    # filter, the request, the node, the reason or ""
    ("health", {}, {}, ""),
    ("health", {}, {"healthy": False, "health_reason": "connection refused"}, "unhealthy: connection refused"),
    ("health", {}, {"healthy": False}, "unhealthy: no answer yet"),
    ("availability", {}, {"availability": "pause"}, "availability is pause: no new containers"),
    ("availability", {}, {"availability": "drain"}, "availability is drain: no new containers"),
    ("platform", {"platform": ""}, {"os_type": "windows"}, ""),
    ("platform", {"platform": "linux"}, {}, ""),
    ("platform", {"platform": "linux/amd64"}, {}, ""),
    ("platform", {"platform": "linux/x86_64"}, {}, ""),
    ("platform", {"platform": "linux/amd64/v2"}, {}, ""),
    ("platform", {"platform": "amd64"}, {}, ""),
    ("platform", {"platform": "arm64"}, {}, "is linux/amd64, arm64 is asked for"),
    ("platform", {"platform": "linux/arm64"}, {}, "is linux/amd64, linux/arm64 is asked for"),
    ("platform", {"platform": "windows/amd64"}, {}, "is linux/amd64, windows/amd64 is asked for"),
    ("platform", {"platform": "linux/arm64/v8"}, {"architecture": "aarch64"}, ""),
    ("platform", {"platform": "linux/arm/v6"}, {"architecture": "armv7l"}, ""),
    ("platform", {"platform": "linux/arm"}, {"architecture": "armv7l"}, ""),
    (
        "platform",
        {"platform": "linux/arm/v7"},
        {"architecture": "armv6l"},
        "is linux/arm/v6, linux/arm/v7 is asked for",
    ),
    ("platform", {"platform": "linux/arm64"}, {"labels": {"platforms": "linux/386, linux/arm64"}}, ""),
    ("platform", {"platform": "linux/arm64"}, {"architecture": ""}, ""),
    ("port", {"ports": (Port(port=80),)}, {}, ""),
    ("port", {"ports": (Port(port=80),)}, {"ports": (WEB,)}, "port 80/tcp is taken by web-1"),
    ("port", {"ports": (Port(port=81), Port(port=80))}, {"ports": (WEB,)}, "port 80/tcp is taken by web-1"),
    ("port", {"ports": (Port(port=80, protocol="udp"),)}, {"ports": (WEB,)}, ""),
    ("port", {"ports": (Port(port=80),), "unit": "p/web/1"}, {"ports": (WEB,)}, ""),
    ("port", {"ports": (Port(port=80),), "unit": "p/web/2"}, {"ports": (WEB,)}, "port 80/tcp is taken by web-1"),
    ("containerslots", {}, {"labels": {"containerslots": "2"}, "container_count": 1}, ""),
    (
        "containerslots",
        {},
        {"labels": {"containerslots": "2"}, "container_count": 2},
        "all 2 container slots are taken",
    ),
    ("containerslots", {}, {"labels": {"containerslots": "many"}, "container_count": 9}, ""),
    (
        "containerslots",
        {"unit": "p/web/1"},
        {"labels": {"containerslots": "2"}, "container_count": 2, "units": {"p/web/1": Use(0, 0, 1)}},
        "",
    ),
    ("dependency", {"dependencies": (HERE,)}, {}, ""),
    ("dependency", {"dependencies": (HERE, THERE)}, {}, "db (--net=container:db) is on node-3"),
    ("dependency", {"dependencies": (Bond("--link=db", "db"),)}, {}, "db (--link=db) is on no node"),
    ("affinity", {"affinities": ("container==db",)}, {"containers": [DB]}, ""),
    ("affinity", {"affinities": ("container==" + "c" * 64,)}, {"containers": [DB]}, ""),
    ("affinity", {"affinities": ("container==db",)}, {}, "affinity container==db does not hold"),
    ("affinity", {"affinities": ("container!=db",)}, {}, ""),
    ("affinity", {"affinities": ("container!=d*",)}, {"containers": [DB]}, "affinity container!=d* does not hold"),
    ("affinity", {"affinities": ("tier==back",)}, {"containers": [DB]}, ""),
    ("affinity", {"affinities": ("tier!=back",)}, {"containers": [DB]}, "affinity tier!=back does not hold"),
    ("affinity", {"affinities": ("zone==*",)}, {"containers": [DB]}, "affinity zone==* does not hold"),
    ("affinity", {"affinities": ("image==nginx",)}, {"images": frozenset({"nginx:1.1"})}, ""),
    ("affinity", {"affinities": ("image==nginx:1.1",)}, {"images": frozenset({"nginx:1.1"})}, ""),
    ("affinity", {"affinities": ("image==r:5000/x",)}, {"images": frozenset({"r:5000/x:1"})}, ""),
    ("affinity", {"affinities": ("image==r",)}, {"images": frozenset({"r:5000/x"})}, "affinity image==r does not hold"),
    ("affinity", {"affinities": ("image==sha256:a*",)}, {"images": frozenset({"sha256:ab"})}, ""),
    ("constraint", {"constraints": ("node==node-1",)}, {}, ""),
    ("constraint", {"constraints": ("node==id-1",)}, {}, ""),
    (
        "constraint",
        {"constraints": ("node==node-2",)},
        {},
        "constraint node==node-2 does not hold: node is node-1",
    ),
    (
        "constraint",
        {"constraints": ("node!=id-1",)},
        {},
        "constraint node!=id-1 does not hold: node is node-1",
    ),
    ("constraint", {"constraints": ("region==eu",)}, {"labels": {"region": "eu"}}, ""),
    (
        "constraint",
        {"constraints": ("region==eu",)},
        {"labels": {"region": "us"}},
        "constraint region==eu does not hold: region is us",
    ),
    ("constraint", {"constraints": ("region==*",)}, {}, "constraint region==* does not hold: no label region"),
    ("constraint", {"constraints": ("region!=eu",)}, {}, ""),
    (
        "constraint",
        {"constraints": ("node==mine",)},
        {"labels": {"node": "mine"}},
        "constraint node==mine does not hold: node is node-1",
    ),
    ("constraint", {"constraints": ("ostype==linux",)}, {"labels": {"ostype": "mine"}}, ""),
    ("constraint", {"constraints": ("storagedriver==overlay2",)}, {"storage_driver": "overlay2"}, ""),
    ("constraint", {"constraints": ("kernelversion==6.*",)}, {"kernel_version": "6.1"}, ""),
    ("constraint", {"constraints": ("operatingsystem==*Debian*",)}, {"operating_system": "GNU Debian 12"}, ""),
    ("constraint", {"constraints": ("architecture==x86_64",)}, {}, ""),
    ("whitelist", {"whitelists": ("any==node-2|node-1",)}, {}, ""),
    ("whitelist", {"whitelists": ("any!=node-1",)}, {}, ""),
    ("whitelist", {"whitelists": ("any==node-2|node-11",)}, {}, "not on the whitelist node-2|node-11"),
    ("whitelist", {"whitelists": ("any==node-*",)}, {}, "not on the whitelist node-*"),
    ("volume", {"volume_homes": (Bond("volume data", "data", "id-1", "node-1"),)}, {}, ""),
    ("volume", {"volume_homes": (Bond("volume data", "data", "id-2", "node-2"),)}, {}, "volume data is on node-2"),
    ("volume", {"volume_homes": (Bond("volume data", "data"),)}, {}, "volume data is on no node"),
    ("network", {"needs_overlay": True}, {}, ""),
    (
        "network",
        {"needs_overlay": True},
        {"agent": False},
        "no agent runs there, so it cannot join networks that span hosts",
    ),
    ("network", {}, {"agent": False}, ""),
    ("network", {"network_homes": (Bond("network n", "n", "id-2", "node-2"),)}, {}, "network n is on node-2"),
    ("network", {"network_homes": (Bond("network n", "n"),)}, {}, "network n is on no node"),
    (
        "network",
        {"networks": ("a", "n")},
        {"networks_unavailable": {"n": "another network of that name is in use"}},
        "network n cannot be made there: another network of that name is in use",
    ),
    ("resources", {}, {"cpu_reserved": 9 * CPU, "memory_reserved": 9 * GIB}, ""),
    ("resources", {"cpu": 2 * CPU}, {"cpu_reserved": 2 * CPU}, ""),
    (
        "resources",
        {"cpu": 2 * CPU},
        {"cpu_reserved": 2 * CPU + CPU // 2},
        "2 CPUs are asked for, 1.5 of 4 are free",
    ),
    ("resources", {"cpu": 1}, {"cpu_reserved": 5 * CPU}, "1e-09 CPUs are asked for, 0 of 4 are free"),
    ("resources", {"memory": 4 * GIB}, {"memory_reserved": 4 * GIB}, ""),
    (
        "resources",
        {"memory": GIB},
        {"memory_reserved": 8 * GIB - 512 * 2**20},
        "1 GiB of memory are asked for, 512 MiB of 8 GiB are free",
    ),
    ("resources", {"memory": 1}, {"cpu_reserved": 9 * CPU}, ""),
    (
        "resources",
        {"memory": 5 * GIB, "unit": "p/db/1"},
        {"memory_reserved": 8 * GIB, "units": {"p/db/1": Use(0, 5 * GIB, 1)}},
        "",
    ),
    (
        "resources",
        {"memory": 6 * GIB, "unit": "p/db/1"},
        {"memory_reserved": 8 * GIB, "units": {"p/db/1": Use(0, 5 * GIB, 1)}},
        "6 GiB of memory are asked for, 5 GiB of 8 GiB are free",
    ),
]


@pytest.mark.parametrize(("name", "request_", "facts", "reason"), TABLE)
def test_verdict(name: str, request_: dict[str, Any], facts: dict[str, Any], reason: str) -> None:
    found = CHECK[name](asking(**request_), node(1, **facts))
    assert ("" if found is None else str(found)) == reason


def test_every_filter_has_a_refusal_in_the_table() -> None:
    assert {name for name, _, _, reason in TABLE if reason} == set(CHECK)


def test_reasons_are_data() -> None:
    found = CHECK["port"](asking(ports=(Port(port=80),)), node(1, ports=(WEB,)))
    assert found is not None
    assert found.values == {"port": 80, "protocol": "tcp", "holder": "web-1"}
    assert found == Reason("port {port}/{protocol} is taken by {holder}", port=80, protocol="tcp", holder="web-1")
    assert found != Reason("port {port}/{protocol} is taken by {holder}", port=81, protocol="tcp", holder="web-1")
    assert len({found, found}) == 1


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (20 * 2**20, "20 MiB"),
        (3 * GIB // 2, "1.5 GiB"),
        (2**50, "1 PiB"),
    ],
)
def test_bytes_read_as_docker_writes_them(size: int, text: str) -> None:
    assert f"{Bytes(size)}" == text


def test_cpus_read_as_cores() -> None:
    assert f"{Cpus(CPU // 4)} {Cpus(2 * CPU)}" == "0.25 2"


def test_choosing_filters() -> None:
    every = [entry.name for entry in filters.FILTERS]
    assert [entry.name for entry in filters.by_name()] == every
    assert [entry.name for entry in filters.by_name(["port", "health"])] == [
        "health",
        "availability",
        "platform",
        "port",
        "volume",
        "network",
        "resources",
    ]
    with pytest.raises(ValueError, match="^unknown filter 'ports': choose from health, availability, "):
        filters.by_name(["port", "ports"])
