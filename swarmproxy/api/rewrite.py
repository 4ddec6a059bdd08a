"""All that we add to engines' objects, and its taking out again: the only place that does either way back.

A client of one engine must read what it wrote. What create changed (see lifecycle/body) is put back here, in list
entries (once, when the view takes an entry in) and in inspect (every time, since inspect comes from the engine):

    labels swarmproxy.*            gone; the virtual label swarmproxy.node tells where a listed container runs
    HostConfig.Dns                 the client's own, kept in label swarmproxy.dns
    DriverOpts swp.*               gone; Aliases and Links return from them
    network ids                    the cluster's instead of the engine's (`Node.swap_out`)
    ports on 0.0.0.0 and ::        the node's address, once

Fields that we do not know stay as they are. Cost: 80–150 µs for an inspect body of 6 kB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

from swarmproxy.model import options

Tree = dict[str, msgspec.Raw]

_ANY_ADDRESS = ("", "0.0.0.0", "::")
_OUR_LABEL = b'"' + options.LABEL_PREFIX.encode()
_OUR_OPTION = b'"' + options.OPTION_PREFIX.encode()
_PUBLISHED = b'"HostIp"'


@dataclass(frozen=True)
class Place:
    """Where an object lives, as clients are told. To be kept and used again: it holds its JSON."""

    id: str
    name: str
    ip: str
    address: str
    cpus: int = 0
    memory: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def shown(self) -> msgspec.Raw:
        """Classic Swarm's `Node` of an inspect."""
        return _raw(
            {
                "ID": self.id,
                "IP": self.ip,
                "Addr": self.address,
                "Name": self.name,
                "Cpus": self.cpus,
                "Memory": self.memory,
                "Labels": dict(self.labels),
            }
        )


def _tree(raw: msgspec.Raw | None) -> Tree:
    if raw is None or bytes(raw) == b"null":
        return {}
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])


def _value(raw: msgspec.Raw | None) -> Any:
    return None if raw is None else msgspec.json.decode(raw)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def without_ours(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if not key.startswith(options.LABEL_PREFIX)}


def list_item(item: Tree, place: Place) -> None:
    """One entry of containers/json, in place. Names and Status are the view's business."""
    labels: dict[str, str] = _value(item.get("Labels")) or {}
    item["Labels"] = _raw(without_ours(labels) | {options.LABEL_NODE: place.name})
    ports: list[dict[str, Any]] = _value(item.get("Ports")) or []
    if ports:
        item["Ports"] = _raw(_listed_ports(ports, place.ip))
    settings = _tree(item.get("NetworkSettings"))
    if settings:
        settings["Networks"] = _networks(settings.get("Networks"), short_id="")
        item["NetworkSettings"] = _raw(settings)


def _listed_ports(ports: list[dict[str, Any]], ip: str) -> list[dict[str, Any]]:
    """`IP` becomes the node's; an engine with IPv6 lists a port twice, a client needs it once."""
    seen: set[tuple[object, ...]] = set()
    shown: list[dict[str, Any]] = []
    for port in ports:
        if port.get("PublicPort") and port.get("IP", "") in _ANY_ADDRESS:
            port = {**port, "IP": ip}
        mark = (port.get("IP"), port.get("PrivatePort"), port.get("PublicPort"), port.get("Type"))
        if mark not in seen:
            seen.add(mark)
            shown.append(port)
    return shown


def _networks(raw: msgspec.Raw | None, *, short_id: str) -> msgspec.Raw:
    networks = _tree(raw)
    for name, value in networks.items():
        endpoint = _tree(value)
        if b"swp." in bytes(endpoint.get("DriverOpts", b"")):
            _undress(endpoint, short_id)
            networks[name] = _raw(endpoint)
    return _raw(networks)


def _undress(endpoint: Tree, short_id: str) -> None:
    """The reverse of lifecycle.body.dress_endpoint, in place."""
    marks: dict[str, str] = _value(endpoint.get("DriverOpts")) or {}
    aliases: list[str] = msgspec.json.decode(marks.get(options.ENDPOINT_ALIASES, "[]"))
    links: dict[str, str] = msgspec.json.decode(marks.get(options.ENDPOINT_LINKS, "{}"))
    own = {key: value for key, value in marks.items() if not key.startswith(options.OPTION_PREFIX)}
    endpoint["DriverOpts"] = _raw(own or None)
    if not short_id:  # lists show neither aliases nor links
        return
    theirs: list[str] = _value(endpoint.get("Aliases")) or []
    endpoint["Aliases"] = _raw(list(dict.fromkeys(aliases + theirs)) or None)
    if links:
        endpoint["Links"] = _raw([f"{name}:{alias}" for alias, name in links.items()])
    names = _value(endpoint.get("DNSNames"))
    if names:
        endpoint["DNSNames"] = _raw(list(dict.fromkeys([*names[:1], *aliases, *names[1:]])))


def inspect(body: bytes, place: Place, *, shown_name: str) -> bytes:
    """A container's inspect as the cluster shows it.

    Args:
        body: the engine's answer, network ids swapped already.
        shown_name: without slash; `node/name` where another container holds the plain name.
    """
    top = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    top["Name"] = _raw("/" + shown_name)
    top["Node"] = place.shown
    if (raw := top.get("Config")) and _OUR_LABEL in bytes(raw):
        config = _tree(raw)
        labels: dict[str, str] = _value(config.get("Labels")) or {}
        config["Labels"] = _raw(without_ours(labels))
        top["Config"] = _raw(config)
        if options.LABEL_DNS in labels and (host := _tree(top.get("HostConfig"))):
            host["Dns"] = msgspec.Raw(labels[options.LABEL_DNS].encode())
            top["HostConfig"] = _raw(host)
    if raw := top.get("NetworkSettings"):
        ours, published = _OUR_OPTION in bytes(raw), _PUBLISHED in bytes(raw)
        settings = _tree(raw) if ours or published else {}
        if ours:
            identity: str = _value(top.get("Id")) or ""
            settings["Networks"] = _networks(settings.get("Networks"), short_id=identity[:12])
        if published and "Ports" in settings:
            settings["Ports"] = _inspected_ports(settings["Ports"], place.ip)
        if settings:
            top["NetworkSettings"] = _raw(settings)
    return msgspec.json.encode(top) + b"\n"


def _inspected_ports(raw: msgspec.Raw, ip: str) -> msgspec.Raw:
    ports: dict[str, list[dict[str, str]] | None] = _value(raw) or {}
    for port, bindings in ports.items():
        if bindings:
            shown = [{**one, "HostIp": ip} if one.get("HostIp", "") in _ANY_ADDRESS else one for one in bindings]
            ports[port] = [one for index, one in enumerate(shown) if one not in shown[:index]]
    return _raw(ports)
