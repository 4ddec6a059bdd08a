"""The routes that a simulated engine answers, as a table. What is not here is 404 `page not found`, as on an engine."""

from __future__ import annotations

import base64
import io
import re
import tarfile

import msgspec

from swarmproxy.model.errors import BadRequest, DockerError, NotFound
from swarmproxy.testing import (
    about,
    containers,
    execs,
    hijack,
    images,
    networks,
    running,
    shapes,
    streams,
    volumes,
)
from swarmproxy.testing.daemon import rfc3339
from swarmproxy.testing.filters import boolean, number, parse_filters
from swarmproxy.testing.http import JSON, Asked, Reply, Route, Streaming, Whole, json_reply

__all__ = ["ROUTES"]

_FOLDERS = frozenset(("/", "/etc", "/home", "/root", "/run", "/tmp", "/usr", "/var", "/data"))
_PING = {"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache"}


# ---------------------------------------------------------------- the engine itself


def ping(asked: Asked) -> Reply:
    extra = {} if asked.daemon.flavour.old else {"Builder-Version": "2", "Swarm": "inactive"}
    body = b"" if asked.call.method == "HEAD" else b"OK"
    return Reply(200, body, "text/plain; charset=utf-8", {**_PING, **extra})


def version(asked: Asked) -> Reply:
    return json_reply(about.version(asked.daemon))


def info(asked: Asked) -> Reply:
    return json_reply(about.info(asked.daemon))


def disk_usage(asked: Asked) -> Reply:
    return Reply(200, about.disk_usage(asked.daemon, asked.api) + b"\n", JSON)


def not_a_manager(asked: Asked) -> Reply:
    raise DockerError(networks.NO_MANAGER, status=503)


def nothing(asked: Asked) -> Reply:
    return json_reply([])


# ---------------------------------------------------------------- containers


def list_containers(asked: Asked) -> Reply:
    daemon = asked.daemon
    limit = number(asked.get("limit"))
    filters = parse_filters(asked.get("filters"), daemon.flavour, containers.FILTERS)
    shown = containers.listing(daemon, filters, every=boolean(asked.get("all")), limit=limit)
    size = boolean(asked.get("size"))
    body = b"[" + b",".join([shapes.entry(daemon, container, size=size) for container in shown]) + b"]\n"
    return Reply(200, body, JSON)


def create_container(asked: Asked) -> Reply:
    container = containers.create(
        asked.daemon, asked.get("name"), asked.tree(), platform=asked.get("platform"), api=asked.api
    )
    return json_reply({"Id": container.id, "Warnings": []}, 201)


def inspect_container(asked: Asked) -> Reply:
    body = shapes.inspect(asked.daemon, asked.daemon.container(asked.id), asked.api)
    if boolean(asked.get("size")):
        body["SizeRootFs"] = images.SIZE
    return json_reply(body)


def start(asked: Asked) -> Reply:
    if len(asked.call.body) > 7 and asked.api >= (1, 24):
        raise BadRequest(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
        )
    return Reply(204 if running.start(asked.daemon, asked.id) else 304)


def stop(asked: Asked) -> Reply:
    number(asked.get("t"))
    signal = asked.get("signal") if asked.api >= (1, 42) else ""
    return Reply(204 if running.stop(asked.daemon, asked.id, signal=signal) else 304)


def restart(asked: Asked) -> Reply:
    number(asked.get("t"))
    running.restart(asked.daemon, asked.id, signal=asked.get("signal") if asked.api >= (1, 42) else "")
    return Reply(204)


def kill(asked: Asked) -> Reply:
    running.kill(asked.daemon, asked.id, asked.get("signal"))
    return Reply(204)


def pause(asked: Asked) -> Reply:
    running.pause(asked.daemon, asked.id)
    return Reply(204)


def unpause(asked: Asked) -> Reply:
    running.unpause(asked.daemon, asked.id)
    return Reply(204)


def rename(asked: Asked) -> Reply:
    containers.rename(asked.daemon, asked.id, asked.get("name"))
    return Reply(204)


def update(asked: Asked) -> Reply:
    containers.update(asked.daemon, asked.id, asked.tree())
    return json_reply({"Warnings": None})


def resize(asked: Asked) -> Reply:
    height, width = (number(asked.get(key), required=True, status=400) for key in ("h", "w"))
    container = asked.daemon.container(asked.id)
    running.require_running(asked.daemon, container)
    asked.daemon.emit_container(container, "resize", height=str(height), width=str(width))
    return Reply(200)


def top(asked: Asked) -> Reply:
    container = asked.daemon.container(asked.id)
    running.require_running(asked.daemon, container)
    path, arguments = shapes.command_line(container)
    asked.daemon.emit_container(container, "top")
    process = ["root", str(container.pid), "1", "0", "00:00", "?", "00:00:00", " ".join((path, *arguments))]
    titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    return json_reply({"Processes": [process], "Titles": titles})


def changes(asked: Asked) -> Reply:
    asked.daemon.container(asked.id)
    return json_reply(None)


def remove_container(asked: Asked) -> Reply:
    force, anonymous = boolean(asked.get("force")), boolean(asked.get("v"))
    containers.remove(asked.daemon, asked.id, force=force, anonymous=anonymous)
    return Reply(204)


def prune_containers(asked: Asked) -> Reply:
    filters = parse_filters(asked.get("filters"), asked.daemon.flavour, ("label", "label!", "until"))
    gone = containers.prune(asked.daemon, filters)
    return json_reply({"ContainersDeleted": gone or None, "SpaceReclaimed": 0})


# ---------------------------------------------------------------- files: what was put can be got


def _archive_path(asked: Asked) -> tuple[str, str]:
    container = asked.daemon.container(asked.id)
    path = asked.get("path")
    if not path:
        raise BadRequest("bad parameter: pathcannot be empty")
    return container.id, path.rstrip("/") or "/"


def put_archive(asked: Asked) -> Reply:
    key, folder = _archive_path(asked)
    try:
        with tarfile.open(fileobj=io.BytesIO(asked.call.body)) as archive:
            for member in archive:
                handle = archive.extractfile(member) if member.isfile() else None
                if handle is not None:
                    asked.daemon.files[key, f"{folder.rstrip('/')}/{member.name}"] = handle.read()
    except tarfile.TarError:
        raise BadRequest("archive/tar: invalid tar header") from None
    asked.daemon.emit_container(asked.daemon.containers[key], "extract-to-dir")
    return Reply(200)


def get_archive(asked: Asked) -> Reply:
    key, path = _archive_path(asked)
    content = asked.daemon.files.get((key, path))
    folder = path in _FOLDERS or any(owner == key and name.startswith(f"{path}/") for owner, name in asked.daemon.files)
    if content is None and not folder:
        raise NotFound(f"Could not find the file {path} in container {asked.id}")
    name = path.rsplit("/", 1)[1]
    stat = {
        "name": name,
        "size": len(content or b""),
        "mode": 0o644 if content is not None else 0o755 | 1 << 31,
        "mtime": rfc3339(asked.daemon.containers[key].created),
        "linkTarget": "",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content or b"")
        member.type = tarfile.REGTYPE if content is not None else tarfile.DIRTYPE
        archive.addfile(member, io.BytesIO(content or b""))
    asked.daemon.emit_container(asked.daemon.containers[key], "archive-path")
    encoded = base64.b64encode(msgspec.json.encode(stat)).decode()
    return Reply(200, buffer.getvalue(), "application/x-tar", {"X-Docker-Container-Path-Stat": encoded})


# ---------------------------------------------------------------- execs


def create_exec(asked: Asked) -> Reply:
    return json_reply({"Id": execs.create(asked.daemon, asked.id, asked.tree()).id}, 201)


def inspect_exec(asked: Asked) -> Reply:
    return json_reply(shapes.exec_state(execs.find(asked.daemon, asked.id)))


def resize_exec(asked: Asked) -> Reply:
    for key in ("h", "w"):
        number(asked.get(key), required=True, status=400)
    execs.find(asked.daemon, asked.id)
    return Reply(200)


# ---------------------------------------------------------------- images


def list_images(asked: Asked) -> Reply:
    known = ("dangling", "reference", "label", "before", "since", "until")
    filters = parse_filters(asked.get("filters"), asked.daemon.flavour, known)
    return json_reply(images.listing(asked.daemon, filters, asked.api))


def inspect_image(asked: Asked) -> Reply:
    return json_reply(images.inspect(asked.daemon, images.wanted(asked.daemon, asked.id), asked.api))


def image_history(asked: Asked) -> Reply:
    image = images.wanted(asked.daemon, asked.id)
    layer = {"Comment": "", "Created": image.created, "CreatedBy": "", "Id": image.id, "Size": image.size}
    return json_reply([{**layer, "Tags": images.inspect(asked.daemon, image, asked.api)["RepoTags"] or None}])


def tag_image(asked: Asked) -> Reply:
    images.tag(asked.daemon, asked.id, asked.get("repo"), asked.get("tag"))
    return Reply(201)


def remove_image(asked: Asked) -> Reply:
    return json_reply(images.remove(asked.daemon, asked.id, force=boolean(asked.get("force"))))


def save_image(asked: Asked) -> Reply:
    names = list(asked.arguments) or asked.query.get("names", [])
    return Reply(200, images.save(asked.daemon, names), "application/x-tar")


def prune_images(asked: Asked) -> Reply:
    asked.daemon.emit("image", "prune", "", {"reclaimed": "0"})
    return json_reply({"ImagesDeleted": None, "SpaceReclaimed": 0})


# ---------------------------------------------------------------- networks


def list_networks(asked: Asked) -> Reply:
    known = ("name", "id", "driver", "scope", "type", "label", "dangling")
    filters = parse_filters(asked.get("filters"), asked.daemon.flavour, known)
    shown = networks.listing(asked.daemon, filters)
    return json_reply([networks.shape(asked.daemon, network, members=False) for network in shown])


def inspect_network(asked: Asked) -> Reply:
    network = asked.daemon.network(asked.id, inspected=True)
    return json_reply(networks.shape(asked.daemon, network, members=True))


def create_network(asked: Asked) -> Reply:
    network, warning = networks.create(asked.daemon, asked.tree())
    return json_reply({"Id": network.id, "Warning": warning}, 201)


def connect_network(asked: Asked) -> Reply:
    networks.connect(asked.daemon, asked.id, asked.tree())
    return Reply(200)


def disconnect_network(asked: Asked) -> Reply:
    networks.disconnect(asked.daemon, asked.id, asked.tree())
    return Reply(200)


def remove_network(asked: Asked) -> Reply:
    networks.remove(asked.daemon, asked.id)
    return Reply(204)


def prune_networks(asked: Asked) -> Reply:
    filters = parse_filters(asked.get("filters"), asked.daemon.flavour, ("label", "label!", "until"))
    return json_reply({"NetworksDeleted": networks.prune(asked.daemon, filters) or None})


# ---------------------------------------------------------------- volumes


def list_volumes(asked: Asked) -> Reply:
    filters = parse_filters(asked.get("filters"), asked.daemon.flavour, ("dangling", "name", "driver", "label"))
    shown = [volumes.shape(asked.daemon, volume) for volume in volumes.listing(asked.daemon, filters)]
    return json_reply({"Volumes": shown, "Warnings": None})


def inspect_volume(asked: Asked) -> Reply:
    return json_reply(volumes.shape(asked.daemon, volumes.inspect(asked.daemon, asked.id)))


def create_volume(asked: Asked) -> Reply:
    body = asked.tree()
    volume = volumes.create(
        asked.daemon,
        body.get("Name") or "",
        driver=body.get("Driver") or "",
        labels=body.get("Labels"),
        options=body.get("DriverOpts"),
    )
    return json_reply(volumes.shape(asked.daemon, volume), 201)


def remove_volume(asked: Asked) -> Reply:
    volumes.remove(asked.daemon, asked.id, force=boolean(asked.get("force")))
    return Reply(204)


def prune_volumes(asked: Asked) -> Reply:
    known = ("label", "label!") if asked.api < (1, 42) else ("label", "label!", "all")
    filters = parse_filters(asked.get("filters"), asked.daemon.flavour, known)
    return json_reply({"VolumesDeleted": volumes.prune(asked.daemon, filters, asked.api), "SpaceReclaimed": 0})


# ---------------------------------------------------------------- the table


def _row(method: str, path: str, answer: Whole | None = None, *, stream: Streaming | None = None) -> Route:
    """`{x}` is one segment, `{name}` an image name with its slashes."""
    pattern = re.escape(path).replace(r"\{x\}", "([^/]+)").replace(r"\{name\}", "(.+?)")
    return Route(method, re.compile(pattern), answer, stream)


_ROWS: tuple[Route, ...] = (
    _row("GET", "/_ping", ping),
    _row("HEAD", "/_ping", ping),
    _row("GET", "/version", version),
    _row("GET", "/info", info),
    _row("GET", "/events", stream=streams.events),
    _row("GET", "/system/df", disk_usage),
    _row("GET", "/plugins", nothing),
    _row("GET", "/containers/json", list_containers),
    _row("POST", "/containers/create", create_container),
    _row("POST", "/containers/prune", prune_containers),
    _row("GET", "/containers/{x}/json", inspect_container),
    _row("GET", "/containers/{x}/top", top),
    _row("GET", "/containers/{x}/changes", changes),
    _row("GET", "/containers/{x}/logs", stream=streams.logs),
    _row("GET", "/containers/{x}/stats", stream=streams.stats),
    _row("POST", "/containers/{x}/start", start),
    _row("POST", "/containers/{x}/stop", stop),
    _row("POST", "/containers/{x}/restart", restart),
    _row("POST", "/containers/{x}/kill", kill),
    _row("POST", "/containers/{x}/pause", pause),
    _row("POST", "/containers/{x}/unpause", unpause),
    _row("POST", "/containers/{x}/resize", resize),
    _row("POST", "/containers/{x}/rename", rename),
    _row("POST", "/containers/{x}/update", update),
    _row("POST", "/containers/{x}/wait", stream=streams.wait),
    _row("POST", "/containers/{x}/attach", stream=hijack.attach),
    _row("GET", "/containers/{x}/archive", get_archive),
    _row("HEAD", "/containers/{x}/archive", get_archive),
    _row("PUT", "/containers/{x}/archive", put_archive),
    _row("DELETE", "/containers/{x}", remove_container),
    _row("POST", "/containers/{x}/exec", create_exec),
    _row("POST", "/exec/{x}/start", stream=hijack.exec_start),
    _row("POST", "/exec/{x}/resize", resize_exec),
    _row("GET", "/exec/{x}/json", inspect_exec),
    _row("GET", "/images/json", list_images),
    _row("GET", "/images/get", save_image),
    _row("POST", "/images/create", stream=streams.create_image),
    _row("POST", "/images/load", stream=streams.load),
    _row("POST", "/images/prune", prune_images),
    _row("GET", "/images/{name}/json", inspect_image),
    _row("GET", "/images/{name}/history", image_history),
    _row("GET", "/images/{name}/get", save_image),
    _row("POST", "/images/{name}/tag", tag_image),
    _row("DELETE", "/images/{name}", remove_image),
    _row("GET", "/networks", list_networks),
    _row("GET", "/networks/", list_networks),
    _row("GET", "/networks/{x}", inspect_network),
    _row("POST", "/networks/create", create_network),
    _row("POST", "/networks/prune", prune_networks),
    _row("POST", "/networks/{x}/connect", connect_network),
    _row("POST", "/networks/{x}/disconnect", disconnect_network),
    _row("DELETE", "/networks/{x}", remove_network),
    _row("GET", "/volumes", list_volumes),
    _row("GET", "/volumes/{x}", inspect_volume),
    _row("POST", "/volumes/create", create_volume),
    _row("POST", "/volumes/prune", prune_volumes),
    _row("DELETE", "/volumes/{x}", remove_volume),
    *(_row("GET", f"/{kind}", not_a_manager) for kind in ("nodes", "services", "tasks", "secrets", "configs", "swarm")),
)


def _by_first_segment() -> dict[str, tuple[Route, ...]]:
    table: dict[str, list[Route]] = {}
    for row in _ROWS:
        table.setdefault(row.pattern.pattern.replace("\\", "").split("/", 2)[1], []).append(row)
    return {first: tuple(rows) for first, rows in table.items()}


ROUTES = _by_first_segment()
