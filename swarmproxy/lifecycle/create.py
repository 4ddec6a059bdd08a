"""Create a container somewhere, or leave nothing behind.

parse → resolve image, networks, volumes → place and claim (one store transaction) → networks and volumes on the node →
engine create → bind → refresh → reply. No registry is asked. The engine's answer is the only proof: when it is lost,
the container is looked for by its token and removed; when the proxy dies, the claim goes with its lease and the
container, if there is one, is adopted.

What an engine accepts and fails at start (a network or a joined container that is missing), we accept, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import msgspec

from swarmproxy.cluster.node import Node
from swarmproxy.engine.deadline import LASTING
from swarmproxy.lifecycle import claims, naming, network, snapshot, volume
from swarmproxy.lifecycle import image as images
from swarmproxy.lifecycle.body import CreateBody
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.lifecycle.dress import dress
from swarmproxy.lifecycle.image import Image
from swarmproxy.lifecycle.refusal import failed
from swarmproxy.lifecycle.saga import Saga
from swarmproxy.model import options
from swarmproxy.model.errors import BadRequest, Conflict, EngineUnreachable, NotFound
from swarmproxy.model.records import LOCAL, OVERLAY, Alloc, Network
from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.body import Parsed, parse_request
from swarmproxy.scheduler.place import NoNode, Placement, place
from swarmproxy.scheduler.request import Bond

NAME_TRIES = 6
PLANS = 4
"""How often a plan is made anew because a network that it uses was removed or made meanwhile."""
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Created:
    """The engine's answer and where the container is."""

    id: str
    node: str
    warnings: list[str]


@dataclass(slots=True)
class Plan:
    """What a create body means in this cluster, before a node is chosen."""

    body: CreateBody
    parsed: Parsed
    image: Image
    version: str
    networks: dict[str, Network] = field(default_factory=dict)
    """As the client spelt them → record."""
    stands: tuple[tuple[str, int], ...] = ()
    """Keys and revisions of the networks' records."""
    joins: dict[str, str] = field(default_factory=dict)
    """Containers as the client spelt them → full id."""
    volumes: dict[str, str] = field(default_factory=dict)
    """Volumes as the client spelt them → the engine's name."""
    unowned: tuple[str, ...] = ()
    unavailable: dict[str, dict[str, str]] = field(default_factory=dict)
    connected: bool = False
    """Networks were joined after the engine's create, one by one."""

    @property
    def addressed(self) -> list[str]:
        """NIDs of the overlays on which the container has not asked for an address of its own."""
        networking = self.body.shape.NetworkingConfig
        asked = (networking.EndpointsConfig if networking is not None else None) or {}
        fixed = {key for key, one in asked.items() if one is not None and (one.IPAMConfig or {}).get("IPv4Address")}
        every = ((key, one) for key, one in self.networks.items() if one.mode == OVERLAY and key not in fixed)
        return list(dict.fromkeys(one.id for _, one in every))


async def create(cluster: Cluster, data: bytes, *, name: str = "", platform: str = "", version: str = "") -> Created:
    """Creates one container.

    Raises:
        BadRequest, NotFound (no such image), Conflict (name), NoNode, StoreLost, or the engine's own error.
    """
    if name:
        return await _create_or_look_again(cluster, data, name, platform, version)
    for attempt in range(NAME_TRIES):
        try:
            return await _create_or_look_again(cluster, data, naming.invent(attempt), platform, version)
        except Conflict:
            if attempt == NAME_TRIES - 1:
                raise
    raise AssertionError("the loop returns or raises")


async def _create_or_look_again(cluster: Cluster, data: bytes, name: str, platform: str, version: str) -> Created:
    """Before a refusal: what stands in the way may have been removed through another proxy a moment ago.

    A container of the same name holds the very ports and volumes that are asked for again: an engine says that the name
    is taken, and so do we, before we say that there is no place.
    """
    name = naming.valid(name)
    for last in (False, True):
        try:
            return await _plan_and_create(cluster, data, name, platform, version)
        except NoNode:
            await claims.settle_name(cluster, name)
            if last:
                raise
            await asyncio.gather(cluster.settle(), volume.look_again(cluster), cluster.agents_back())
    raise AssertionError("the loop returns or raises")


async def _plan_and_create(cluster: Cluster, data: bytes, name: str, platform: str, version: str) -> Created:
    for _ in range(PLANS - 1):
        with contextlib.suppress(claims.Outdated):
            return await _create(cluster, CreateBody(data), name, platform, version)
    return await _create(cluster, CreateBody(data), name, platform, version)


async def _create(cluster: Cluster, body: CreateBody, name: str, platform: str, version: str) -> Created:
    async with Saga("create", cluster.failpoints) as saga:
        image = await saga.step("image", _image(cluster, body))
        plan = await saga.step("plan", _plan(cluster, body, image, name, platform, version))
        request = plan.parsed.request

        def choose() -> Placement:
            nodes = snapshot.take(cluster, request, plan.unavailable)
            return place(request, nodes, cluster.strategy, filters=cluster.filters)

        async def prepare(chosen: NodeSnapshot) -> None:
            await images.ensure(cluster, cluster.view.nodes[chosen.id], image)

        token = secrets.token_hex(16)
        alloc = Alloc(
            name=name,
            cpu=request.cpu,
            memory=request.memory,
            ports=list(request.ports),
            unit=request.unit,
            since=time.time(),
            networks=plan.addressed,
        )
        wish = claims.Wish(token=token, name=name, alloc=alloc, volumes=plan.unowned, stands=plan.stands)
        claim = await saga.step(
            "claim", claims.take(cluster, wish, choose, prepare), undo=lambda held: claims.drop(cluster, held)
        )
        node = cluster.view.nodes[claim.node]
        await saga.step("networks", _networks(cluster, node, plan))
        await saga.step("volumes", _volumes(cluster, node, plan))
        saga.on_failure("engine", lambda: _take_back(cluster, node, token))
        created = await saga.step("engine", _on_engine(cluster, node, plan, name, token))
        await saga.step("bind", claims.bind(cluster, claim, created.id))
        await saga.step("refresh", _seen(cluster, node, plan, created))
    return created


async def _image(cluster: Cluster, body: CreateBody) -> Image:
    reference = body.shape.Image or ""
    if not reference:
        raise BadRequest("no command specified")
    return await images.seek(cluster, reference)


async def _plan(cluster: Cluster, body: CreateBody, image: Image, name: str, platform: str, version: str) -> Plan:
    exposed = await images.exposed_ports(cluster, image.id) if body.host_shape.PortBindings else ()
    parsed = parse_request(
        body.plain(), name=name, image_id=image.id, image_ports=exposed, platform=platform or body.shape.Platform or ""
    )
    plan = Plan(body=body, parsed=parsed, image=image, version=version)
    bonds = await _resolve_joins(cluster, plan)
    volume_homes = await _resolve_volumes(cluster, plan)
    network_homes = await _resolve_networks(cluster, plan)
    overlay = any(one.mode == OVERLAY for one in plan.networks.values())
    request = replace(
        parsed.request,
        dependencies=tuple(bonds),
        volume_homes=tuple(volume_homes),
        network_homes=tuple(network_homes),
        needs_overlay=overlay,
    )
    plan.parsed = replace(parsed, request=request)
    return plan


async def _resolve_joins(cluster: Cluster, plan: Plan) -> list[Bond]:
    """Where the containers are that this one joins. A missing `--net=container:X` is the start's failure, not ours."""
    bonds: list[Bond] = []
    for bond in plan.parsed.request.dependencies:
        try:
            entry = await cluster.view.resolve(bond.target)
        except NotFound:
            if bond.text.startswith("--net="):
                continue
            if bond.text.startswith("--link="):
                raise BadRequest(
                    f"could not get container for {bond.target}: No such container: {bond.target}"
                ) from None
            raise BadRequest(f"No such container: {bond.target}") from None
        node = cluster.view.nodes[entry.node.id]
        plan.joins[bond.target] = entry.id
        bonds.append(bond.at(node.id, node.name))
    return bonds


async def _resolve_volumes(cluster: Cluster, plan: Plan) -> list[Bond]:
    homes: list[Bond] = []
    unowned: list[str] = []
    if cluster.shared and plan.parsed.request.volumes:
        await volume.catch_up(cluster)
    for name in plan.parsed.request.volumes:
        found = volume.find(cluster, name)
        if found is None:
            volume.check_name(name)
        if found is None or found.node is None:
            if found is not None and found.record is not None and found.record.owner:
                owner = found.record.owner
                homes.append(Bond(f"volume {name}", name).at(owner, owner))
            unowned.append(name)
            continue
        plan.volumes[name] = found.name
        homes.append(Bond(f"volume {name}", name).at(found.node.id, found.node.name))
    plan.unowned = tuple(unowned)
    return homes


async def _resolve_networks(cluster: Cluster, plan: Plan) -> list[Bond]:
    homes: list[Bond] = []
    for reference in plan.parsed.request.networks:
        if network.predefined(reference):
            continue
        held = network.find(cluster, reference) or await network.seek(cluster, reference)
        if held is None:
            continue
        record = held.value
        plan.stands += ((held.key, held.revision),)
        plan.networks[reference] = record
        if record.mode == LOCAL:
            home = cluster.view.nodes.get(record.home)
            homes.append(Bond(f"network {reference}", reference).at(record.home, home.name if home else record.home))
        for node in cluster.view.nodes.values():
            if record.mode != LOCAL and (reason := network.not_here(cluster, node, record)):
                plan.unavailable.setdefault(node.id, {})[record.name] = reason
    names = tuple(plan.networks[one].name if one in plan.networks else one for one in plan.parsed.request.networks)
    plan.parsed = replace(plan.parsed, request=replace(plan.parsed.request, networks=names))
    return homes


async def _networks(cluster: Cluster, node: Node, plan: Plan) -> None:
    for record in plan.networks.values():
        await network.ensure(cluster, node, record)


async def _volumes(cluster: Cluster, node: Node, plan: Plan) -> None:
    for name in plan.parsed.request.volumes:
        await volume.ensure(cluster, node, plan.volumes.get(name, name))


async def _on_engine(cluster: Cluster, node: Node, plan: Plan, name: str, token: str) -> Created:
    data, later = dress(plan, node, name=name, token=token, resolvers=cluster.resolvers(node.id))
    query = {"name": name} | ({"platform": plan.parsed.request.platform} if plan.parsed.request.platform else {})
    answer = await node.engine.call(
        "POST",
        "/containers/create",
        query=urlencode(query),
        body=data,
        headers=JSON,
        deadline=LASTING,
        version=plan.version or None,
    )
    if answer.status != 201:
        raise failed(answer.status, node.swap_out(answer.body), node)
    reply: dict[str, Any] = msgspec.json.decode(answer.body)
    created = Created(id=reply["Id"], node=node.id, warnings=list(reply.get("Warnings") or ()))
    plan.connected = bool(later)
    for local_id, endpoint in later:
        connect = {"Container": created.id, "EndpointConfig": msgspec.Raw(endpoint)}
        joined = await node.engine.call(
            "POST", f"/networks/{local_id}/connect", body=msgspec.json.encode(connect), headers=JSON, deadline=LASTING
        )
        if joined.status != 200:
            raise failed(joined.status, node.swap_out(joined.body), node)
    return created


async def _seen(cluster: Cluster, node: Node, plan: Plan, created: Created) -> None:
    """The client's next list shows it. Mostly its event has brought it here already, while the claim was bound."""
    if plan.connected or created.id not in node.containers:
        await cluster.view.refresh(node.id, created.id)


async def _take_back(cluster: Cluster, node: Node, token: str) -> None:
    """Removes what the engine may have made although its answer was lost, or something after it failed.

    From an engine that does not answer, it is removed when it answers again: its client was told that it failed. Should
    this proxy end before, the container is adopted.
    """
    await cluster.surely(lambda: _remove_by_token(cluster, node, token))


async def _remove_by_token(cluster: Cluster, node: Node, token: str) -> None:
    """One that runs was found and started by somebody else meanwhile, and is theirs."""
    if cluster.view.nodes.get(node.id) is not node:
        return
    wanted = {"label": [f"{options.LABEL_TOKEN}={token}"], "status": ["created"]}
    filters = msgspec.json.encode(wanted).decode()
    answer = await node.engine.call("GET", "/containers/json", query=urlencode({"all": "1", "filters": filters}))
    if answer.status != 200:
        raise EngineUnreachable("the engine does not list its containers", node=node.name)
    for entry in msgspec.json.decode(answer.body, type=list[dict[str, Any]]):
        gone = await node.engine.call("DELETE", f"/containers/{entry['Id']}", query="v=1", deadline=LASTING)
        if gone.status in (204, 404):
            cluster.view.gone(node.id, entry["Id"])
        else:
            raise failed(gone.status, gone.body, node)
