"""The create body that an engine gets: the client's, with what the cluster knows put in.

Everything here has its way back in api/rewrite. What is changed:

    labels       the token; the client's own Dns where ours is put before it
    Env          expressions leave it
    names        `node/name` of containers, volumes and images, and network ids, become what this engine knows
    networks     aliases and links of cluster networks travel in DriverOpts; each endpoint carries token and name
    Dns          the agent's address first, then the client's servers, else the host's own: when the agent is away only
                 cluster names are lost
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from swarmproxy.cluster.node import Node
from swarmproxy.engine.version import common, number
from swarmproxy.lifecycle.body import CreateBody, Tree, dress_endpoint, link_names, raw
from swarmproxy.lifecycle.network import predefined
from swarmproxy.model import options
from swarmproxy.model.records import OVERLAY, Network

if TYPE_CHECKING:
    from swarmproxy.lifecycle.create import Plan

SEVERAL_NETWORKS_SINCE = (1, 44)
OWN_NAMESPACE_MODES = ("host", "none")


def dress(
    plan: Plan, node: Node, *, name: str, token: str, resolvers: Sequence[str]
) -> tuple[bytes, list[tuple[str, bytes]]]:
    """(body for the engine, endpoints to connect afterwards as (local network id, settings)).

    The second part is not empty only where a client names several networks and it or the engine is older than API 1.44.
    """
    body = plan.body
    labels = dict(plan.parsed.labels) | {options.LABEL_TOKEN: token}
    env = body.shape.Env or []
    if len(plan.parsed.env) != len(env):
        body.set_env(list(plan.parsed.env))
    _names(plan, body)
    mode = _networks(plan, body, node, name=name, token=token)
    own = body.host_shape.Dns
    labels[options.LABEL_DNS] = msgspec.json.encode(own).decode()  # always: an image may carry another container's
    if node.agent_alive and mode not in OWN_NAMESPACE_MODES and not mode.startswith("container:"):
        body.set_host("Dns", [options.DNS_ADDRESS, *(own or resolvers)])
    body.set_labels(labels)
    later = _split(body, common(plan.version, node.engine.minimum, node.engine.api), mode)
    return body.encode(), later


def _names(plan: Plan, body: CreateBody) -> None:
    """References that only the cluster understands become what the engine knows."""
    if not plan.image.reference and "/" in (body.shape.Image or ""):
        body.top["Image"] = raw(plan.image.id)  # node-2/app:1: the engine's tag may mean another image by now
    host = body.host_shape
    for key, value in (("PidMode", host.PidMode), ("IpcMode", host.IpcMode)):
        if value and value.startswith("container:"):
            body.set_host(key, _joined(plan, value))
    if any("/" in source.partition(":")[0] for source in host.VolumesFrom or ()):
        body.set_host("VolumesFrom", [_source(plan, source) for source in host.VolumesFrom or ()])
    if any("/" in link.partition(":")[0].lstrip("/") for link in host.Links or ()):
        body.set_host("Links", [_source(plan, link) for link in host.Links or ()])
    renamed = {old: new for old, new in plan.volumes.items() if old != new}
    if renamed and host.Binds:
        body.set_host("Binds", [_bind(bind, renamed) for bind in host.Binds])
    if renamed and host.Mounts:
        mounts = msgspec.json.decode(body.host["Mounts"], type=list[dict[str, msgspec.Raw]])
        for mount in mounts:
            source = msgspec.json.decode(mount.get("Source", msgspec.Raw(b'""')))
            if source in renamed:
                mount["Source"] = raw(renamed[source])
        body.set_host("Mounts", mounts)


def _joined(plan: Plan, mode: str) -> str:
    target = mode.removeprefix("container:")
    return f"container:{plan.joins.get(target.removeprefix('/'), target)}"


def _source(plan: Plan, text: str) -> str:
    target, colon, rest = text.partition(":")
    return plan.joins.get(target.removeprefix("/"), target) + colon + rest


def _bind(bind: str, renamed: dict[str, str]) -> str:
    source, colon, rest = bind.partition(":")
    return renamed.get(source, source) + colon + rest


def _networks(plan: Plan, body: CreateBody, node: Node, *, name: str, token: str) -> str:
    """Dresses every endpoint; the mode that the engine gets."""
    mode = body.network_mode
    if mode.startswith("container:"):
        mode = _joined(plan, mode)
        body.set_host("NetworkMode", mode)
        return mode
    links = link_names(body.host_shape.Links or ())
    if (first := plan.networks.get(mode)) is not None:
        if not any(plan.networks.get(key) is first for key in body.endpoints):
            body.endpoints[mode] = {}
        if (known := _engines_word(mode, first, node)) != mode:
            body.set_host("NetworkMode", known)
    elif (fixed := predefined(mode)) and fixed != mode:
        body.set_host("NetworkMode", fixed)
        mode = fixed
    dressed: dict[str, Tree] = {}
    for key, endpoint in body.endpoints.items():
        record = plan.networks.get(key)
        if record is None:
            dressed[predefined(key) or key] = endpoint
            continue
        if record.mode == OVERLAY:
            endpoint = dress_endpoint(endpoint, token=token, name=name, links=links)
        endpoint.pop("NetworkID", None)
        dressed[_engines_word(key, record, node)] = endpoint
    body.endpoints = dressed
    return body.network_mode


def _engines_word(reference: str, record: Network, node: Node) -> str:
    """How the engine calls the network: by name if the client did, else by the engine's own id."""
    if reference == record.name:
        return reference
    return record.name if "/" in reference else node.local_of.get(record.id, record.name)


def _split(body: CreateBody, version: str, mode: str) -> list[tuple[str, bytes]]:
    """`version` is the one that the create is sent with."""
    if len(body.endpoints) < 2 or number(version) >= SEVERAL_NETWORKS_SINCE:
        return []
    first = mode if mode in body.endpoints else next(iter(body.endpoints))
    later = [(key, msgspec.json.encode(endpoint)) for key, endpoint in body.endpoints.items() if key != first]
    body.endpoints = {first: body.endpoints[first]}
    return later
