"""Containers as records: create, list, rename, update, remove."""

from __future__ import annotations

import re
from typing import Any

from swarmproxy.model.errors import BadRequest, Conflict, DockerError, NotFound
from swarmproxy.testing import networks, running, volumes
from swarmproxy.testing.daemon import Daemon
from swarmproxy.testing.filters import Filters, boolean, labelled, matches_name, number
from swarmproxy.testing.objects import Container, Endpoint, Image
from swarmproxy.testing.references import parse
from swarmproxy.testing.shapes import CONFIG, HOST

__all__ = ["FILTERS", "create", "listing", "prune", "remove", "rename", "update"]

Tree = dict[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_CANONICAL = {key.lower(): key for key in (*CONFIG, *HOST, "HostConfig", "NetworkingConfig", "EndpointsConfig")}
FILTERS = (
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network",
    "publish", "since", "status", "volume",
)  # fmt: skip
_STATUSES = frozenset(("created", "running", "paused", "restarting", "removing", "exited", "dead"))


def canonical(tree: Tree) -> Tree:
    """Keys match without regard to case; unknown ones are dropped by who reads."""
    return {_CANONICAL.get(key.lower(), key): value for key, value in tree.items()}


# ---------------------------------------------------------------- create


def create(daemon: Daemon, name: str, body: Tree | None, *, platform: str = "", api: tuple[int, ...]) -> Container:
    """Everything an engine checks at create; a missing network or joined container is found only at start."""
    sent = canonical(body or {})
    config = {key: value for key, value in sent.items() if key in CONFIG}
    host = {key: value for key, value in canonical(sent.get("HostConfig") or {}).items() if key in HOST}
    if not config:
        raise BadRequest(f"{daemon.flavour.say('Config', 'config')} cannot be empty in order to create a container")
    places = _places(daemon, host, canonical(sent.get("NetworkingConfig") or {}), api)
    image = _image(daemon, config.get("Image") or "", platform)
    if image is not None:
        config = _with_defaults(config, image)
    if not (config.get("Cmd") or config.get("Entrypoint")):
        raise BadRequest(f"{daemon.flavour.say('No', 'no')} command specified")
    name = reserve(daemon, name.removeprefix("/"))
    container = Container(
        id=daemon.new_id(),
        name=name,
        created=daemon.now(),
        image=config.get("Image") or "",
        image_id=image.id if image else "",
        config=config,
        host=_joined(daemon, host),
        endpoints=places,
    )
    daemon.names[name] = container.id
    try:
        container.mounts = _mounts(daemon, container)
    except DockerError:
        del daemon.names[name]
        daemon.emit_container(container, "destroy")
        raise
    daemon.containers[container.id] = container
    daemon.emit_container(container, "create")
    return container


def reserve(daemon: Daemon, name: str, *, shown: str = "") -> str:
    """The name, or a made-up one. Raises BadRequest, Conflict."""
    if not name:
        return daemon.new_name()
    if not _NAME.fullmatch(name):
        raise BadRequest(f"Invalid container name ({shown or name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    if name in daemon.names:
        raise Conflict(
            f'Conflict. The container name "/{name}" is already in use by container "{daemon.names[name]}". '
            "You have to remove (or rename) that container to be able to reuse that name."
        )
    return name


def _image(daemon: Daemon, reference: str, platform: str) -> Image | None:
    if not reference:
        return None
    image = daemon.image(reference)
    if image is None:
        whole = reference if reference.startswith("sha256:") else parse(reference, daemon.flavour).complete
        raise NotFound(f"No such image: {whole}")
    architecture = platform.split("/")[1] if "/" in platform else ""
    if architecture and architecture != image.architecture:
        raise NotFound(
            f"image with reference {reference} was found but does not match the specified platform: "
            f"wanted {platform}, actual: linux/{image.architecture}"
        )
    return image


def _with_defaults(config: Tree, image: Image) -> Tree:
    base = image.config
    merged = dict(config)
    mine = config.get("Env") or []
    names = {item.partition("=")[0] for item in mine}
    merged["Env"] = [*mine, *(item for item in base.get("Env") or () if item.partition("=")[0] not in names)]
    if not config.get("Entrypoint"):
        if not config.get("Cmd"):
            merged["Cmd"] = base.get("Cmd")
        merged["Entrypoint"] = base.get("Entrypoint")
    for key in ("Labels", "ExposedPorts", "Volumes"):
        if base.get(key) or config.get(key):
            merged[key] = {**(base.get(key) or {}), **(config.get(key) or {})}
    for key in ("WorkingDir", "User", "StopSignal", "Healthcheck"):
        if not config.get(key) and base.get(key):
            merged[key] = base[key]
    return merged


def _joined(daemon: Daemon, host: Tree) -> Tree:
    """`container:X` becomes the full id; a missing X stays as sent, or is refused for ipc, pid, volumes and links."""
    for key in ("PidMode", "IpcMode", "NetworkMode"):
        mode = host.get(key) or ""
        if not mode.startswith("container:"):
            continue
        try:
            host[key] = f"container:{daemon.container(mode.removeprefix('container:')).id}"
        except NotFound as error:
            if key != "NetworkMode":
                raise BadRequest(error.words) from None
    for source in host.get("VolumesFrom") or ():
        try:
            daemon.container(source.partition(":")[0])
        except NotFound as error:
            raise BadRequest(error.words) from None
    for link in host.get("Links") or ():
        target = link.partition(":")[0]
        try:
            daemon.container(target)
        except NotFound as error:
            raise BadRequest(f"could not get container for {target}: {error.words}") from None
    return host


def _places(daemon: Daemon, host: Tree, networking: Tree, api: tuple[int, ...]) -> dict[str, Endpoint]:
    given = networking.get("EndpointsConfig") or {}
    if len(given) > 1 and (daemon.flavour.old or api < (1, 44)):
        word = daemon.flavour.say("connected to", "created with multiple")
        names = ", ".join(given) if daemon.flavour.old else ", ".join(sorted(given))
        raise BadRequest(f"Container cannot be {word} network endpoints: {names}")
    mode = host.get("NetworkMode") or "default"
    if mode.startswith("container:"):
        return {}
    first = "bridge" if mode in ("default", "bridge") else mode
    places = {first: Endpoint(first, {})}
    for key, settings in given.items():
        name = key if key != "default" else "bridge"
        try:
            network = daemon.network(name)
        except DockerError:
            places[name] = Endpoint(name, settings or {})
            continue
        if first in (network.name, network.id):
            places = {network.name if name == place.network else name: place for name, place in places.items()}
            name = network.name
            places.pop(first, None)
        places[name] = Endpoint(network.id if network.id == first else name, settings or {})
    return places


def _mounts(daemon: Daemon, container: Container) -> tuple[Tree, ...]:
    """As inspect shows them; named and anonymous volumes come into being here."""
    mounts: dict[str, Tree] = {}
    for source in container.host.get("VolumesFrom") or ():
        for mount in daemon.container(source.partition(":")[0]).mounts:
            mounts[mount["Destination"]] = mount
    for bind in container.host.get("Binds") or ():
        source, destination, mode = (*bind.split(":"), "", "")[:3]
        if not source.startswith("/"):
            mounts[destination] = _volume_mount(daemon, source, destination, mode or "z", writable="ro" not in mode)
        else:
            mounts[destination] = _bind_mount(source, destination, mode, writable="ro" not in mode.split(","))
    for wanted in container.host.get("Mounts") or ():
        kind, source, destination = wanted.get("Type"), wanted.get("Source") or "", wanted.get("Target") or ""
        writable = not wanted.get("ReadOnly")
        if kind == "volume":
            options = wanted.get("VolumeOptions") or {}
            driver = options.get("DriverConfig") or {}
            mounts[destination] = _volume_mount(
                daemon, source, destination, "z", writable=writable, labels=options.get("Labels"), driver=driver
            )
        elif kind == "bind":
            if source.startswith(("/nosuch", "/nope")):
                raise BadRequest(f'invalid mount config for type "bind": bind source path does not exist: {source}')
            mounts[destination] = _bind_mount(source, destination, "", writable=writable)
        elif kind == "tmpfs":
            shape = {"Type": "tmpfs", "Source": "", "Destination": destination, "Mode": "", "RW": True}
            mounts[destination] = {**shape, "Propagation": ""}
    for destination in container.config.get("Volumes") or ():
        if destination not in mounts:
            mounts[destination] = _volume_mount(daemon, "", destination, "", writable=True)
    return tuple(mounts.values())


def _volume_mount(
    daemon: Daemon,
    name: str,
    destination: str,
    mode: str,
    *,
    writable: bool,
    labels: dict[str, str] | None = None,
    driver: Tree | None = None,
) -> Tree:
    known = name and name in daemon.volumes
    if not known:
        asked = driver or {}
        options = asked.get("Options")
        name = volumes.create(daemon, name, driver=asked.get("Name") or "", labels=labels, options=options).name
    return {
        "Type": "volume",
        "Name": name,
        "Source": volumes.mountpoint(daemon, name),
        "Destination": destination,
        "Driver": "local",
        "Mode": mode,
        "RW": writable,
        "Propagation": "",
    }


def _bind_mount(source: str, destination: str, mode: str, *, writable: bool) -> Tree:
    return {
        "Type": "bind",
        "Source": source,
        "Destination": destination,
        "Mode": mode,
        "RW": writable,
        "Propagation": "rprivate",
    }


# ---------------------------------------------------------------- change and removal


def rename(daemon: Daemon, reference: str, name: str) -> None:
    container = daemon.container(reference)
    new = name.removeprefix("/")
    if not new:
        raise BadRequest("Neither old nor new names may be empty")
    if new == container.name:
        raise BadRequest("Renaming a container with the same name as its current name")
    try:
        reserve(daemon, new, shown=f"/{new}")
    except DockerError as error:
        raise DockerError(f"Error when allocating new name: {error.words}", status=error.status) from None
    old = container.name
    del daemon.names[old]
    container.name = new
    daemon.names[new] = container.id
    container.changed()
    daemon.emit_container(container, "rename", oldName=f"/{old}")


def update(daemon: Daemon, reference: str, body: Tree) -> None:
    container = daemon.container(reference)
    given = {key: value for key, value in canonical(body).items() if key in HOST and value not in (None, 0, "")}
    container.host = {**container.host, **given}
    container.changed()
    daemon.emit_container(container, "update")


def remove(daemon: Daemon, reference: str, *, force: bool, anonymous: bool) -> None:
    """`anonymous`: its unnamed volumes too."""
    container = daemon.container(reference)
    if container.running:
        if not force:
            raise Conflict(_refusal(daemon, container))
        container.stopped_by_hand = True
        daemon.emit_container(container, "kill", signal="9")
        running.end(daemon, container, 137, again=False)
    running.discard(daemon, container, anonymous=anonymous)


def _refusal(daemon: Daemon, container: Container) -> str:
    paused = container.status == "paused"
    if daemon.flavour.old:
        how = "Unpause and then stop" if paused else "Stop"
        return (
            f"You cannot remove a {container.status} container {container.id}. "
            f"{how} the container before attempting removal or force remove"
        )
    what = "paused and must be unpaused first" if paused else f"{container.status}: stop the container before removing"
    return f'cannot remove container "/{container.name}": container is {what}' + ("" if paused else " or force remove")


def prune(daemon: Daemon, filters: Filters) -> list[str]:
    gone = []
    for container in list(daemon.containers.values()):
        if not container.running and labelled(container.labels, filters.get("label", ())):
            running.discard(daemon, container, anonymous=False)
            gone.append(container.id)
    daemon.emit("container", "prune", "", {"reclaimed": "0"})
    return gone


# ---------------------------------------------------------------- list


def listing(daemon: Daemon, filters: Filters, *, every: bool, limit: int) -> list[Container]:
    """Newest first; filters, then the limit."""
    for status in filters.get("status", ()):
        if status not in _STATUSES:
            raise BadRequest(f"{daemon.flavour.say('Invalid', 'invalid')} filter 'status={status}'")
    every = every or limit > 0 or "status" in filters
    ancestors = {_ancestor(daemon, reference) for reference in filters.get("ancestor", ())}
    bounds = {key: _bound(daemon, next(iter(filters[key]))) for key in ("before", "since") if key in filters}
    shown = []
    for container in reversed(daemon.containers.values()):
        if not every and not container.running:
            continue
        if ancestors and container.image_id not in ancestors:
            continue
        if "before" in bounds and container.created >= bounds["before"]:
            continue
        if "since" in bounds and container.created <= bounds["since"]:
            continue
        if filters and not _passes(daemon, container, filters):
            continue
        shown.append(container)
        if 0 < limit == len(shown):
            break
    return shown


def _bound(daemon: Daemon, reference: str) -> int:
    try:
        return daemon.container(reference).created
    except NotFound:
        if daemon.flavour.old:
            raise DockerError(f"no such container {reference}") from None
        raise


def _ancestor(daemon: Daemon, reference: str) -> str:
    try:
        image = daemon.image(reference)
    except DockerError:
        return "?"
    return image.id if image else "?"


def _passes(daemon: Daemon, container: Container, filters: Filters) -> bool:
    for key, wanted in filters.items():
        if key == "id":
            good = any(container.id.startswith(begin) for begin in wanted)
        elif key == "name":
            good = matches_name(container.name, wanted) or matches_name("/" + container.name, wanted)
        elif key == "label":
            good = labelled(container.labels, wanted)
        elif key == "status":
            good = container.status in wanted
        elif key == "exited":
            status = daemon.flavour.status(500, 400)
            codes = {number(code, status=status) for code in wanted}
            good = not container.running and bool(container.started) and container.exit_code in codes
        elif key == "health":
            good = (container.health or "none") in wanted
        elif key == "network":
            good = any(_on_network(place, one) for place in container.endpoints.values() for one in wanted)
        elif key == "volume":
            good = any(wanted & {m.get("Name") or m["Source"], m["Destination"]} for m in container.mounts)
        elif key in ("publish", "expose"):
            good = any(_has_port(container, key, one) for one in wanted)
        elif key == "is-task":
            good = not any(boolean(value) for value in wanted)
        else:
            good = True
        if not good:
            return False
    return True


def _on_network(place: Endpoint, wanted: str) -> bool:
    return place.network == wanted or (bool(place.network_id) and place.network_id.startswith(wanted))


def _has_port(container: Container, key: str, wanted: str) -> bool:
    ports, _, protocol = wanted.partition("/")
    first, _, last = ports.partition("-")
    span = range(number(first), number(last or first) + 1)
    for port, bindings in container.ports.items():
        inside, _, kind = port.partition("/")
        numbers = [int(inside)] if key == "expose" else [int(binding["HostPort"]) for binding in bindings or ()]
        if kind == (protocol or "tcp") and any(one in span for one in numbers):
            return True
    return False


def seed(daemon: Daemon, count: int, *, image: str, running_: bool = True, prefix: str = "") -> list[Container]:
    """`count` containers of one template, without events; they share their configuration."""
    reference = daemon.image(image)
    assert reference is not None, f"{image} is not on {daemon.name}"
    config = _with_defaults({"Image": image, "Labels": {"seeded": "true"}}, reference)
    config["Cmd"] = config.get("Cmd") or ["sleep", "1000000"]
    host: Tree = {}
    bridge = next(network for network in daemon.networks.values() if network.name == "bridge")
    made = []
    for index in range(count):
        name = f"{prefix or daemon.name}-{index}"
        place = Endpoint("bridge", {})
        container = Container(daemon.new_id(), name, daemon.now(), image, reference.id, config, host, {"bridge": place})
        daemon.names[name] = container.id
        daemon.containers[container.id] = container
        if running_:
            networks.join(daemon, container, place, bridge, quiet=True)
            container.status, container.pid, container.started = "running", daemon.new_pid(), daemon.now()
        made.append(container)
    return made
