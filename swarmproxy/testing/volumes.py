"""Volumes of driver local: names and options, no data."""

from __future__ import annotations

import re
from typing import Any

from swarmproxy.model.errors import BadRequest, Conflict, NotFound
from swarmproxy.testing.daemon import Daemon, rfc3339
from swarmproxy.testing.filters import Filters, boolean, labelled, matches_name
from swarmproxy.testing.objects import Volume

__all__ = ["create", "inspect", "listing", "prune", "remove", "shape", "users"]

Tree = dict[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


def users(daemon: Daemon, name: str) -> list[str]:
    """Ids of the containers that mount it, running or not."""
    return [key for key, item in daemon.containers.items() if any(m.get("Name") == name for m in item.mounts)]


def shape(daemon: Daemon, volume: Volume) -> Tree:
    return {
        "CreatedAt": rfc3339(volume.created // 1_000_000_000 * 1_000_000_000),
        "Driver": volume.driver,
        "Labels": volume.labels,
        "Mountpoint": mountpoint(daemon, volume.name),
        "Name": volume.name,
        "Options": volume.options,
        "Scope": "local",
    }


def mountpoint(daemon: Daemon, name: str) -> str:
    return f"{daemon.root}/volumes/{name}/_data"


def create(
    daemon: Daemon,
    name: str,
    *,
    driver: str = "",
    labels: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> Volume:
    """An existing one is answered as it is; 20.10 emits its creation again."""
    driver = driver or "local"
    anonymous = not name
    name = name or daemon.new_id()
    if not _NAME.fullmatch(name):
        raise BadRequest(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if driver != "local":
        raise NotFound(f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found')
    volume = daemon.volumes.get(name)
    if volume is None or daemon.flavour.old:
        daemon.emit("volume", "create", name, {"driver": driver})
    if volume is None:
        if anonymous and not daemon.flavour.old:
            labels = {**(labels or {}), "com.docker.volume.anonymous": ""}
        volume = Volume(name, daemon.now(), driver, labels, options)
        daemon.volumes[name] = volume
    return volume


def inspect(daemon: Daemon, name: str) -> Volume:
    volume = daemon.volumes.get(name)
    if volume is None:
        raise NotFound(f"get {name}: no such volume")
    return volume


def listing(daemon: Daemon, filters: Filters) -> list[Volume]:
    shown = []
    for volume in daemon.volumes.values():
        if "name" in filters and not matches_name(volume.name, filters["name"]):
            continue
        if "driver" in filters and volume.driver not in filters["driver"]:
            continue
        if not labelled(volume.labels or {}, filters.get("label", ())):
            continue
        if "dangling" in filters:
            free = not users(daemon, volume.name)
            if boolean(next(iter(filters["dangling"]))) != free:
                continue
        shown.append(volume)
    return shown


def remove(daemon: Daemon, name: str, *, force: bool) -> None:
    """A missing one is no error with force; one in use always is."""
    if name not in daemon.volumes:
        if force:
            return
        raise NotFound(f"get {name}: no such volume")
    holders = users(daemon, name)
    if holders:
        raise Conflict(f"remove {name}: volume is in use - [{', '.join(holders)}]")
    discard(daemon, name)


def discard(daemon: Daemon, name: str) -> None:
    volume = daemon.volumes.pop(name, None)
    if volume is not None:
        daemon.emit("volume", "destroy", name, {"driver": volume.driver})


def prune(daemon: Daemon, filters: Filters, api: tuple[int, ...]) -> list[str]:
    """Below API 1.42 all unused ones; from then on only anonymous ones unless `all`."""
    every = api < (1, 42) or any(boolean(value) for value in filters.get("all", ()))
    gone = []
    for volume in list(daemon.volumes.values()):
        anonymous = "com.docker.volume.anonymous" in (volume.labels or {})
        if users(daemon, volume.name) or not (every or anonymous):
            continue
        if labelled(volume.labels or {}, filters.get("label", ())):
            discard_quietly = daemon.flavour.old
            if discard_quietly:
                del daemon.volumes[volume.name]
            else:
                discard(daemon, volume.name)
            gone.append(volume.name)
    daemon.emit("volume", "prune", "", {"reclaimed": "0"})
    return gone
