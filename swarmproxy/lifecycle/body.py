"""The create request: what we read of it, and the few places we change.

A client may send fields that this version has never heard of; an engine newer than us knows them. So the body stays a
tree of raw bytes: the paths that placement reads are decoded into `Shape` once, the paths that we change are spliced,
all else is forwarded as it came. Go matches JSON keys whatever their case, so the keys that we know are brought to
their canonical spelling first. Cost: 60 µs for a Compose body of 3 kB.

What is changed, and put back by api/rewrite: labels (`swarmproxy.*`, `com.docker.swarm.*`), Env (expressions leave
it), HostConfig.Dns, and on endpoints of cluster networks Aliases and Links, which the engine's own resolver would
answer with local replicas only; they travel in DriverOpts instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from swarmproxy.model import options
from swarmproxy.model.errors import BadRequest

Tree = dict[str, msgspec.Raw]

_NULL = b"null"


class MountShape(msgspec.Struct):
    Type: str | None = None
    Source: str | None = None
    Target: str | None = None
    VolumeOptions: dict[str, Any] | None = None


class EndpointShape(msgspec.Struct):
    Aliases: list[str] | None = None
    Links: list[str] | None = None
    IPAMConfig: dict[str, Any] | None = None
    DriverOpts: dict[str, str] | None = None


class BindingShape(msgspec.Struct):
    HostIp: str | None = None
    HostPort: str | None = None


class HostShape(msgspec.Struct):
    NetworkMode: str | None = None
    PidMode: str | None = None
    IpcMode: str | None = None
    Links: list[str] | None = None
    VolumesFrom: list[str] | None = None
    Binds: list[str] | None = None
    Mounts: list[MountShape] | None = None
    PortBindings: dict[str, list[BindingShape] | None] | None = None
    PublishAllPorts: bool | None = None
    VolumeDriver: str | None = None
    Dns: list[str] | None = None
    Memory: int | None = None
    MemoryReservation: int | None = None
    NanoCpus: int | None = None
    CpuQuota: int | None = None
    CpuPeriod: int | None = None
    CpuShares: int | None = None
    AutoRemove: bool | None = None


class NetworkingShape(msgspec.Struct):
    EndpointsConfig: dict[str, EndpointShape | None] | None = None


class Shape(msgspec.Struct):
    """The fields of a create body that the cluster reads. None = absent or null."""

    Image: str | None = None
    Platform: str | None = None
    Hostname: str | None = None
    Env: list[str] | None = None
    Labels: dict[str, str] | None = None
    ExposedPorts: dict[str, Any] | None = None
    Volumes: dict[str, Any] | None = None
    HostConfig: HostShape | None = None
    NetworkingConfig: NetworkingShape | None = None


def _canonical(tree: Tree, known: Iterable[str]) -> Tree:
    spelling = {name.lower(): name for name in known}
    return {spelling.get(key.lower(), key): value for key, value in tree.items()}


def tree(data: bytes | msgspec.Raw) -> Tree:
    """A JSON object as raw values; null and absent are the empty object."""
    raw = bytes(data)
    if raw.strip() in (b"", _NULL):
        return {}
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


_GO_KINDS = {"int": "number", "float": "number", "str": "string", "bool": "bool", "object": "object", "array": "array"}
_EXPECTED = re.compile(r"Expected `([a-z]+)[^`]*`, got `([a-z]+)`(?: - at `\$\.?(.*)`)?")


def go_error(error: Exception) -> BadRequest:
    """msgspec's complaint in the words that an engine uses for the same fault."""
    found = _EXPECTED.search(str(error))
    if not found:
        return BadRequest(f"invalid JSON: {error}")
    want, got, path = found.groups()
    field = f"ContainerConfigWrapper.{path}" if path else "ContainerConfigWrapper"
    kind = _GO_KINDS.get(got, got)
    target = {"str": "string", "array": "[]string", "object": "map[string]string"}.get(want, want)
    return BadRequest(f"invalid JSON: json: cannot unmarshal {kind} into Go struct field {field} of type {target}")


class CreateBody:
    """One create request, opened for reading (`shape`) and for the changes below.

    Raises:
        BadRequest: not JSON, not an object, or a known field of the wrong type (400, as the newer engines say it).
    """

    def __init__(self, data: bytes) -> None:
        try:
            self.top = _canonical(tree(data), Shape.__struct_fields__)
            self.host = _canonical(tree(self.top.get("HostConfig", b"")), HostShape.__struct_fields__)
            networking = _canonical(tree(self.top.get("NetworkingConfig", b"")), NetworkingShape.__struct_fields__)
            self.networking = networking
            self.endpoints = {
                name: _canonical(tree(value), EndpointShape.__struct_fields__)
                for name, value in tree(networking.get("EndpointsConfig", b"")).items()
            }
            self._touched_host = bool(self.host)
            self.shape = msgspec.json.decode(self.encode(), type=Shape)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise go_error(error) from None
        if not self.top:
            raise BadRequest("config cannot be empty in order to create a container")

    # -- reading

    @property
    def host_shape(self) -> HostShape:
        return self.shape.HostConfig or HostShape()

    @property
    def labels(self) -> dict[str, str]:
        return self.shape.Labels or {}

    @property
    def network_mode(self) -> str:
        """ "default" when the client named none."""
        return self.host_shape.NetworkMode or "default"

    def named_volumes(self) -> list[str]:
        """Names of volumes that binds and mounts use; host paths and anonymous volumes are not among them."""
        names: list[str] = []
        for bind in self.host_shape.Binds or ():
            source, colon, _ = bind.partition(":")
            if colon and source and not source.startswith(("/", "~", ".")):
                names.append(source)
        for mount in self.host_shape.Mounts or ():
            if mount.Type == "volume" and mount.Source:
                names.append(mount.Source)
        return list(dict.fromkeys(names))

    def plain(self) -> dict[str, Any]:
        """The whole body as plain values, for who only reads."""
        value: dict[str, Any] = msgspec.json.decode(self.encode())
        return value

    # -- changing

    def set_labels(self, add: Mapping[str, str]) -> None:
        """Adds ours; whatever the client sent under our prefix is overwritten or dropped."""
        kept = {key: value for key, value in self.labels.items() if not key.startswith(options.LABEL_PREFIX)}
        self.top["Labels"] = raw(kept | dict(add))

    def set_env(self, env: list[str]) -> None:
        self.top["Env"] = raw(env)

    def set_host(self, key: str, value: object) -> None:
        self.host[key] = raw(value)
        self._touched_host = True

    def rename_endpoint(self, old: str, new: str) -> None:
        self.endpoints = {new if name == old else name: value for name, value in self.endpoints.items()}

    def encode(self) -> bytes:
        top = dict(self.top)
        if self._touched_host:
            top["HostConfig"] = raw(self.host)
        if self.endpoints:
            top["NetworkingConfig"] = raw(self.networking | {"EndpointsConfig": raw(self.endpoints)})
        return msgspec.json.encode(top)


def link_names(links: Iterable[str]) -> dict[str, str]:
    """`["db:database", "cache"]` → {"database": "db", "cache": "cache"} (alias → container name)."""
    names: dict[str, str] = {}
    for link in links:
        target, _, alias = link.partition(":")
        target = target.strip("/")
        names[(alias or target).rsplit("/", 1)[-1]] = target
    return names


def dress_endpoint(endpoint: Tree, *, token: str, name: str, links: Mapping[str, str]) -> Tree:
    """Endpoint settings as the engine gets them for a cluster network: aliases and links withheld, marks added.

    Args:
        endpoint: the client's settings, raw values by key.
        links: alias → container name, from HostConfig.Links; the endpoint's own are added.
    """
    shape = msgspec.json.decode(msgspec.json.encode(endpoint), type=EndpointShape)
    dressed = dict(endpoint)
    marks = {key: value for key, value in (shape.DriverOpts or {}).items() if not key.startswith(options.OPTION_PREFIX)}
    marks[options.ENDPOINT_TOKEN] = token
    marks[options.ENDPOINT_NAME] = name
    if shape.Aliases:
        marks[options.ENDPOINT_ALIASES] = msgspec.json.encode(shape.Aliases).decode()
    wanted = dict(links) | link_names(shape.Links or ())
    if wanted:
        marks[options.ENDPOINT_LINKS] = msgspec.json.encode(wanted).decode()
    if shape.Aliases is not None:
        dressed["Aliases"] = raw([])
    if shape.Links is not None:
        dressed["Links"] = raw([])
    dressed["DriverOpts"] = raw(marks)
    return dressed
