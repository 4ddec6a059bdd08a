"""Which containers a list shows: every filter of containers/json over entries in memory.

Rules as an engine has them (Engine API, ContainerList): `status` implies all, `exited` does not; a container matches
`network` by the network's exact name or the beginning of its id; `publish` is about host ports, `expose` about the
container's. Our own key is `node`. A filter is compiled once a request; a test costs a few comparisons an entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from swarmproxy.api.filters import Filters, labels_match, truth
from swarmproxy.cluster.entry import Entry
from swarmproxy.lifecycle import image
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model import pattern
from swarmproxy.model.errors import BadRequest, DockerError, NotFound

KNOWN = frozenset(
    "ancestor before exited expose health id is-task label name network node publish since status volume".split()
)
STATUSES = frozenset("created running paused restarting removing exited dead".split())
HEALTHS = frozenset("none starting healthy unhealthy".split())

Test = Callable[[Entry], bool]


def compile_filter(cluster: Cluster, filters: Filters) -> tuple[list[Test], bool]:
    """(tests that must all hold, whether the filters imply `all`). Raises BadRequest, NotFound."""
    tests: list[Test] = []
    for key, values in filters.items():
        made = _MAKERS[key](cluster, key, values)
        if made is not None:
            tests.append(made)
    return tests, "status" in filters


def _names(_: Cluster, __: str, values: list[str]) -> Test:
    patterns = []
    for value in values:
        try:
            patterns.append(pattern.search(value))
        except pattern.BadPattern:
            continue
    return lambda entry: any(found(entry.shown) or found("/" + entry.shown) for found in patterns)


def _ids(_: Cluster, __: str, values: list[str]) -> Test:
    prefixes = tuple(values)
    return lambda entry: entry.id.startswith(prefixes)


def _labels(_: Cluster, __: str, values: list[str]) -> Test:
    return lambda entry: labels_match(entry.labels, values)


def _status(_: Cluster, key: str, values: list[str]) -> Test:
    _only(key, values, STATUSES)
    wanted = frozenset(values)
    return lambda entry: entry.state in wanted


def _health(_: Cluster, key: str, values: list[str]) -> Test:
    for value in values:
        if value not in HEALTHS:
            raise BadRequest(f"unrecognized filter value for {key}: {value}")
    wanted = frozenset(values)
    return lambda entry: (entry.health or "none") in wanted


def _only(key: str, values: Iterable[str], allowed: frozenset[str]) -> None:
    for value in values:
        if value not in allowed:
            raise BadRequest(f"invalid filter '{key}={value}'")


def _exited(_: Cluster, key: str, values: list[str]) -> Test:
    codes: set[int] = set()
    for value in values:
        try:
            codes.add(int(value))
        except ValueError:
            raise BadRequest(f"invalid filter '{key}={value}': {go_number_error('Atoi', value)}") from None
    code = re.compile(r"Exited \((\d+)\)")

    def test(entry: Entry) -> bool:
        found = code.match(entry.text(0.0))
        return found is not None and int(found[1]) in codes

    return test


def go_number_error(function: str, text: str, why: str = "invalid syntax") -> str:
    """How an engine says that a text is no number."""
    return f'strconv.{function}: parsing "{text}": {why}'


def _ancestor(cluster: Cluster, _: str, values: list[str]) -> Test:
    wanted: set[str] = set()
    for value in values:
        try:
            wanted.add(image.resolve(cluster, value).id)
        except DockerError:
            continue
    grown = bool(wanted)
    while grown:
        grown = False
        for node in cluster.view.nodes.values():
            for image_id, listed in node.images.items():
                if image_id not in wanted and listed.get("ParentId") in wanted:
                    wanted.add(image_id)
                    grown = True
    return lambda entry: entry.image_id in wanted


def _network(_: Cluster, __: str, values: list[str]) -> Test:
    prefixes = tuple(values)
    return lambda entry: any(
        name in prefixes or (bool(network_id) and network_id.startswith(prefixes))
        for name, network_id in entry.networks.items()
    )


def _volume(_: Cluster, __: str, values: list[str]) -> Test:
    wanted = frozenset(values)
    return lambda entry: any(
        not wanted.isdisjoint((mount.get("Name"), mount.get("Source"), mount.get("Destination")))
        for mount in entry.mounts
    )


def _ports(_: Cluster, key: str, values: list[str]) -> Test:
    wanted = {port for value in values for port in _port_range(key, value)}
    field = "PublicPort" if key == "publish" else "PrivatePort"
    return lambda entry: any((port.get(field), port.get("Type")) in wanted for port in entry.ports)


def _port_range(key: str, text: str) -> Iterable[tuple[int, str]]:
    numbers, _, protocol = text.partition("/")
    first, _, last = numbers.partition("-")
    ends: list[int] = []
    for number in (first, last or first):
        if not number.isdecimal() or int(number) >= 1 << 16:
            why = "value out of range" if number.isdecimal() else "invalid syntax"
            raise DockerError(f"error while looking up for {key} {text}: {go_number_error('ParseUint', number, why)}")
        ends.append(int(number))
    return [(number, protocol or "tcp") for number in range(ends[0], ends[1] + 1)]


def _age(cluster: Cluster, key: str, values: list[str]) -> Test:
    entries = []
    for value in values:
        found = cluster.view.find(value)
        if found is None:
            raise NotFound(f"No such container: {value}")
        entries.append(found)
    if key == "before":
        return lambda entry: all(entry.order > other.order for other in entries)
    return lambda entry: all(entry.order < other.order for other in entries)


def _is_task(_: Cluster, key: str, values: list[str]) -> Test | None:
    return (lambda entry: False) if truth({key: values}, key) else None


def _node(cluster: Cluster, _: str, values: list[str]) -> Test:
    wanted = frozenset(values)
    return lambda entry: entry.node.name in wanted or entry.node.id in wanted


_MAKERS: dict[str, Callable[[Cluster, str, list[str]], Test | None]] = {
    "ancestor": _ancestor,
    "before": _age,
    "exited": _exited,
    "expose": _ports,
    "health": _health,
    "id": _ids,
    "is-task": _is_task,
    "label": _labels,
    "name": _names,
    "network": _network,
    "node": _node,
    "publish": _ports,
    "since": _age,
    "status": _status,
    "volume": _volume,
}
