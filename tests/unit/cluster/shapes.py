"""List items and nodes without an engine."""

from __future__ import annotations

from typing import Any

import msgspec

from swarmproxy.cluster.entry import Entry, Rewrite
from swarmproxy.cluster.health import Health, State
from swarmproxy.cluster.node import Node
from swarmproxy.engine.client import Engine
from swarmproxy.model.records import Member


def node(node_id: str = "N1", name: str = "node-1") -> Node:
    address = "http://10.0.0.1:2375"
    made = Node(Member(id=node_id, name=name, address=address), Engine(name, address))
    made.health = Health(State.HEALTHY)
    return made


def item(identity: str, **fields: Any) -> bytes:
    """A list item as an engine writes it."""
    shape: dict[str, Any] = {
        "Id": identity,
        "Names": ["/web"],
        "Image": "busybox:latest",
        "ImageID": "sha256:" + "0" * 64,
        "Command": "sleep 1000",
        "Created": 1000,
        "Ports": [],
        "Labels": {},
        "State": "running",
        "Status": "Up 3 minutes",
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {}},
        "Mounts": [],
    }
    return msgspec.json.encode(shape | fields)


def as_it_is(_item: dict[str, msgspec.Raw], _node: Node) -> None: ...


def entry(
    identity: str, on: Node | None = None, *, rewrite: Rewrite = as_it_is, now: float = 1e6, **fields: Any
) -> Entry:
    return Entry(item(identity, **fields), on or node(), rewrite=rewrite, asked=now, answered=now)
