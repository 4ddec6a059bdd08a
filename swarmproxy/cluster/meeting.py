"""What a first conversation with an engine tells, and how its lists are asked for and read. Pure, but for `meet`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from swarmproxy.cluster.node import Node
from swarmproxy.engine.client import Engine
from swarmproxy.engine.deadline import WORK
from swarmproxy.engine.wire import Answer
from swarmproxy.model.errors import EngineFailed

T = TypeVar("T")

ALL = urlencode({"all": "1"})

_FRACTION = 6
"""Digits that datetime takes; engines write nine."""


def ids_query(containers: Iterable[str]) -> str:
    """The list call that shows just these containers, in whatever state."""
    filters = json.dumps({"id": sorted(containers)}, separators=(",", ":"))
    return urlencode({"all": "1", "filters": filters})


def name_query(name: str) -> str:
    filters = json.dumps({"name": [f"^/{name}$"]}, separators=(",", ":"))
    return urlencode({"all": "1", "filters": filters})


def read(answer: Answer, kind: type[T], node: Node) -> T:
    """The decoded body. Raises EngineFailed when the engine refused or its words make no sense."""
    if answer.status != 200:
        raise EngineFailed(message_of(answer.body), node=node.name, status=answer.status)
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except msgspec.DecodeError as error:
        raise EngineFailed("the engine's answer cannot be read", node=node.name, reason=str(error)) from error


def read_items(answer: Answer, node: Node) -> list[bytes]:
    """The items of a list, undecoded. Raises as `read` does."""
    return [bytes(raw) for raw in read(answer, list[msgspec.Raw], node)]


def message_of(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body, type=dict[str, Any]).get("message", ""))
    except msgspec.DecodeError:
        return body.decode(errors="replace").strip()


def unix(text: str) -> float | None:
    """RFC 3339 with up to nine digits of fraction, as Unix seconds; None when it is something else."""
    head, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    zone = rest[len(digits) :] if dot else ""
    try:
        moment = datetime.fromisoformat(f"{head}.{digits[:_FRACTION].ljust(_FRACTION, '0')}{zone}" if dot else text)
    except ValueError:
        return None
    return moment.timestamp()


async def meet(node: Node, engine: Engine, clock: Callable[[], float] = time.time) -> None:
    """Asks /version and /info, fills the node in and lets the engine's client know its API versions.

    The clock's offset is the engine's time against the middle of the call, so it is known to half a round trip.
    """
    version = read(await engine.call("GET", "/version", deadline=WORK), dict[str, Any], node)
    engine.minimum = str(version.get("MinAPIVersion") or "")
    engine.api = str(version.get("ApiVersion") or "")
    before = clock()
    answer = await engine.call("GET", "/info", deadline=WORK)
    after = clock()
    info = read(answer, dict[str, Any], node)
    there = unix(str(info.get("SystemTime") or ""))
    node.version, node.info = version, info
    node.clock_offset = there - (before + after) / 2 if there is not None else 0.0
