"""From a create body to a Request.

Only what placement needs is read; what has the wrong shape counts as absent, because the engine will refuse the body
in its own words. Expressions are ours alone: they are taken out of Env, checked here, and kept as JSON arrays in the
labels com.docker.swarm.*, where classic Swarm kept them, so that a container moved later is placed by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from swarmproxy.model.errors import BadRequest
from swarmproxy.model.records import Port
from swarmproxy.scheduler.expression import Expression, parse
from swarmproxy.scheduler.request import Bond, Request

__all__ = ["Directives", "Parsed", "parse_request", "split_directives"]

NAMESPACE = "com.docker.swarm."
LABELS = {
    "constraint": NAMESPACE + "constraints",
    "affinity": NAMESPACE + "affinities",
    "reschedule": NAMESPACE + "reschedule-policies",
    "whitelist": NAMESPACE + "whitelists",
}
"""Word before the colon in Env → label that keeps the expressions."""

POLICIES = ("off", "on-node-failure")

CPU_PERIOD = 100_000
"""The kernel's own period in µs, where a quota comes without one."""

DEFAULT_BRIDGE = ("", "default", "bridge")


@dataclass(frozen=True, slots=True)
class Directives:
    """Placement words of one body, checked."""

    constraints: tuple[Expression, ...]
    affinities: tuple[Expression, ...]
    whitelists: tuple[Expression, ...]
    reschedule: str
    rest: tuple[str, ...]
    """The entries that are none of ours, in order."""
    labels: Mapping[str, str]
    """com.docker.swarm.* labels to store; only those with something in them."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A Request, and what of the body changes: `env` replaces Env, `labels` are laid over Labels."""

    request: Request
    env: tuple[str, ...]
    labels: Mapping[str, str]


def parse_request(
    body: Mapping[str, Any],
    *,
    name: str = "",
    image_id: str = "",
    image_ports: Iterable[str] = (),
    platform: str = "",
) -> Parsed:
    """Reads one body of POST /containers/create.

    Args:
        name: the container's, already chosen.
        image_id: what the body's Image means in this cluster.
        image_ports: keys of the image's own ExposedPorts ("80/tcp").
        platform: os/arch/variant, when asked for.

    Raises:
        BadRequest: a malformed expression, or more than one or an unknown reschedule policy.
    """
    labels = {str(key): str(value) for key, value in _mapping(body.get("Labels")).items()}
    host = _mapping(body.get("HostConfig"))
    mode = _text(host.get("NetworkMode"))
    directives = split_directives(_texts(body.get("Env")), labels)
    request = Request(
        name=name,
        image=_text(body.get("Image")),
        image_id=image_id,
        cpu=_cpu(host),
        memory=_whole(host.get("Memory")) or _whole(host.get("MemoryReservation")),
        ports=_ports(mode, host, list(_mapping(body.get("ExposedPorts"))), image_ports),
        host_network=mode == "host",
        unit=_unit(labels),
        constraints=directives.constraints,
        affinities=directives.affinities,
        whitelists=directives.whitelists,
        reschedule=directives.reschedule,
        dependencies=tuple(_dependencies(mode, host)),
        volumes=tuple(dict.fromkeys(_volumes(host))),
        networks=_networks(mode, body),
        platform=platform,
    )
    return Parsed(request, directives.rest, directives.labels)


def split_directives(entries: Sequence[str], labels: Mapping[str, str]) -> Directives:
    """Takes `constraint:`, `affinity:`, `reschedule:` and `whitelist:` out of Env (or of build arguments "K=V") and
    joins them to those kept in labels. Raises BadRequest."""
    said: dict[str, list[str]] = {word: _kept(labels, label) for word, label in LABELS.items()}
    rest: list[str] = []
    for entry in entries:
        word, colon, text = entry.partition(":")
        if colon and word in said:
            said[word].append(text)
        else:
            rest.append(entry)
    policies = said["reschedule"]
    if len(policies) > 1:
        raise BadRequest("too many reschedule policies")
    if policies and policies[0] not in POLICIES:
        raise BadRequest(f"invalid reschedule policy: {policies[0]}")
    return Directives(
        constraints=tuple(map(parse, said["constraint"])),
        affinities=tuple(map(parse, said["affinity"])),
        whitelists=tuple(map(parse, said["whitelist"])),
        reschedule=policies[0] if policies else "",
        rest=tuple(rest),
        labels={LABELS[word]: msgspec.json.encode(texts).decode() for word, texts in said.items() if texts},
    )


def _kept(labels: Mapping[str, str], label: str) -> list[str]:
    # Classic Swarm ignored a label that it could not read; the container then ran where it must not.
    if label not in labels:
        return []
    try:
        return msgspec.json.decode(labels[label], type=list[str])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadRequest(f"label {label} is not a JSON array of strings: {labels[label]}") from error


def _cpu(host: Mapping[str, Any]) -> int:
    quota = _whole(host.get("CpuQuota"))
    return _whole(host.get("NanoCpus")) or quota * 10**9 // (_whole(host.get("CpuPeriod")) or CPU_PERIOD)


def _unit(labels: Mapping[str, str]) -> str:
    """A one-off container (`compose run`) carries its service's labels and replaces nobody."""
    parts = [labels.get(f"com.docker.compose.{part}", "") for part in ("project", "service", "container-number")]
    oneoff = labels.get("com.docker.compose.oneoff", "").lower() == "true"
    return "/".join(parts) if all(parts) and not oneoff else ""


def _ports(mode: str, host: Mapping[str, Any], own: list[str], image: Iterable[str]) -> tuple[Port, ...]:
    """Host ports that the engine must bind, or, on the host's network, that the body says are listened on there.

    A binding counts only when its port is exposed, by the body or by the image. An empty, zero or ranged HostPort is
    the engine's to choose. On the host's network what the *image* exposes is a habit, not a claim: two such
    containers run well on one engine when they are told other ports.
    """
    if mode == "host":
        return tuple(Port(port=number, protocol=protocol) for number, protocol in sorted(_exposed(own)))
    if mode == "none" or mode.startswith("container:"):
        return ()
    exposed = _exposed([*own, *image])
    found: dict[Port, None] = {}
    for key, bindings in _mapping(host.get("PortBindings")).items():
        here = _exposed([key])
        if not here <= exposed or not isinstance(bindings, list):
            continue
        for binding in bindings:
            number = _fixed(_text(_mapping(binding).get("HostPort")))
            for _, protocol in here if number else ():
                found[Port(port=number, protocol=protocol, ip=_text(_mapping(binding).get("HostIp")))] = None
    return tuple(sorted(found, key=lambda port: (port.port, port.protocol, port.ip)))


def _exposed(keys: Iterable[str]) -> set[tuple[int, str]]:
    """`80`, `80/tcp`, `8000-8010/udp` → numbers with protocols."""
    ports: set[tuple[int, str]] = set()
    for key in keys:
        numbers, _, protocol = key.partition("/")
        first, dash, last = numbers.partition("-")
        if _is_port(first) and (not dash or _is_port(last)):
            span = range(int(first), int(last if dash else first) + 1)
            ports.update((number, protocol.lower() or "tcp") for number in span)
    return ports


def _fixed(host_port: str) -> int:
    first, dash, last = host_port.partition("-")
    return int(first) if _is_port(first) and (not dash or last == first) else 0


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535


def _dependencies(mode: str, host: Mapping[str, Any]) -> Iterable[Bond]:
    for source in _texts(host.get("VolumesFrom")):
        yield Bond(f"--volumes-from={source}", _target(source))
    if mode in DEFAULT_BRIDGE:
        for link in _texts(host.get("Links")):
            yield Bond(f"--link={link}", _target(link))
    for option, text in (("net", mode), ("pid", _text(host.get("PidMode"))), ("ipc", _text(host.get("IpcMode")))):
        if text.startswith("container:"):
            yield Bond(f"--{option}={text}", text.removeprefix("container:").removeprefix("/"))


def _target(text: str) -> str:
    return text.partition(":")[0].removeprefix("/")


def _volumes(host: Mapping[str, Any]) -> Iterable[str]:
    """Named volumes: a bind whose source is no path, a mount of type volume that has a source."""
    for bind in _texts(host.get("Binds")):
        source, colon, _ = bind.partition(":")
        if colon and source and source[0] not in "/.~" and "\\" not in source:
            yield source
    for mount in host.get("Mounts") or () if isinstance(host.get("Mounts"), list) else ():
        if _mapping(mount).get("Type") == "volume" and _text(_mapping(mount).get("Source")):
            yield mount["Source"]


def _networks(mode: str, body: Mapping[str, Any]) -> tuple[str, ...]:
    asked = _mapping(_mapping(body.get("NetworkingConfig")).get("EndpointsConfig"))
    first = () if mode in ("", "default") or mode.startswith("container:") else (mode,)
    return tuple(dict.fromkeys((*first, *map(str, asked))))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def _whole(value: object) -> int:
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0
