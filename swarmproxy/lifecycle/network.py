"""Networks of the cluster: made in the store, brought to an engine only when a container needs them there.

One transaction makes a network: its record, its name, its VNI and its subnets, each created only if absent. `ensure`
brings a copy to a node: `netnodes/NID/N` is claimed first, on this proxy's lease, because a 20.10 engine allows two
networks of one name and two proxies must not make both. Whether a network may go is decided by a transaction over its
endpoints, never from a cache; the engines' copies go afterwards, and what an engine that is away keeps is removed by
its agent when it finds the record gone.

Three modes (model.records): OVERLAY joins hosts; LOCAL lives on one node, because it was there before us or because no
agent runs anywhere; DRIVER has one record and is made on each node by its own driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import time
from typing import Any
from urllib.parse import urlencode

import msgspec

from swarmproxy.cluster.node import Node
from swarmproxy.cluster.records import Held
from swarmproxy.discovery.store import Absent, Compare, Delete, ModIs, NoneNewer, Op, Put
from swarmproxy.engine.deadline import WORK
from swarmproxy.lifecycle import netspec
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.lifecycle.refusal import failed
from swarmproxy.lifecycle.saga import Saga
from swarmproxy.model import codec, keys, options
from swarmproxy.model.errors import BadRequest, Conflict, DockerError, Forbidden, NotFound, ServerError
from swarmproxy.model.records import LOCAL, OVERLAY, Network, NetworkCopy, Subnet

ATTEMPTS = 20
COPY_WAIT = 10.0
DRIVERS_OF_ENGINES = ("bridge", "host", "null", "overlay", "macvlan", "ipvlan")


def missing(reference: str) -> NotFound:
    return NotFound(f"network {reference} not found")


def find(cluster: Cluster, reference: str) -> Held[Network] | None:
    """By id, name, unique id prefix, or `node/name`; None when there is none. Predefined networks have no record."""
    records = cluster.records
    held = records.networks.get(reference) or records.networks.get(records.netnames.get(reference, ""))
    if held is not None:
        return held
    first, slash, rest = reference.partition("/")
    if slash and (node := cluster.view.node(first)) is not None:
        return next(
            (
                one
                for one in records.networks.values()
                if one.value.home == node.id and rest in (one.value.name, one.value.id)
            ),
            None,
        )
    if len(reference) < 3:
        return None
    found = [one for one in records.networks.values() if one.value.id.startswith(reference)]
    if len(found) > 1:
        raise BadRequest(f"network {reference} is ambiguous ({len(found)} matches found based on ID prefix)")
    return found[0] if found else None


async def seek(cluster: Cluster, reference: str) -> Held[Network] | None:
    """As `find`, after what other proxies have made and removed until now has been seen."""
    if cluster.shared:
        await cluster.settle()
    return find(cluster, reference)


def predefined(reference: str) -> str:
    """ "bridge", "host" or "none" when the reference means one of them, else ""."""
    if reference in options.PREDEFINED:
        return reference
    if len(reference) < 12:
        return ""
    return next((name for name, fixed in options.PREDEFINED.items() if fixed.startswith(reference)), "")


def shown_name(cluster: Cluster, network: Network) -> str:
    """Plain where the network holds its name, else `node/name`."""
    if not network.home or cluster.records.netnames.get(network.name) == network.id:
        return network.name
    node = cluster.view.nodes.get(network.home)
    return f"{node.name if node else network.home}/{network.name}"


async def create(cluster: Cluster, data: bytes) -> tuple[Network, str]:
    """Makes a network; (record, warning). Raises Conflict, Forbidden, BadRequest, NotFound in Docker's words."""
    request = netspec.parse(data)
    if request.name in cluster.records.netnames:
        await cluster.settle()  # it may have been removed through another proxy a moment ago
    if request.name in cluster.records.netnames:
        raise Conflict(f"network with name {request.name} already exists")
    _known_driver(cluster, request.driver)
    mode, home, warning = request.mode, "", ""
    if mode == OVERLAY and not await _any_agent(cluster):
        mode = LOCAL
        home = _emptiest(cluster).id
        if len(cluster.view.nodes) > 1:
            where = cluster.view.nodes[home].name
            warning = f"no agent runs: the network lives on {where} alone and its containers are kept together there"
    async with Saga("network", cluster.failpoints) as saga:
        network = await saga.step(
            "claim",
            _claim(cluster, request, mode, home),
            undo=lambda made: cluster.surely(lambda: forget(cluster, made.id)),
        )
        if mode == LOCAL:
            await saga.step(
                "engine",
                ensure(cluster, cluster.view.nodes[home], network),
                undo=lambda _: remove_copies(cluster, network, strict=False),
            )
    return network, warning


async def _any_agent(cluster: Cluster) -> bool:
    """What is decided by this is decided for good, so a moment without agents is waited out."""
    for patient in (True, False):
        if any(node.agent_alive for node in cluster.view.nodes.values()):
            return True
        if patient:
            await cluster.agents_back()
    return False


def _known_driver(cluster: Cluster, driver: str) -> None:
    """An engine takes 15 s to say that it does not know a driver; its plugin list is at hand."""
    if not driver or driver in DRIVERS_OF_ENGINES or driver == "default":
        return
    for node in cluster.view.nodes.values():
        if driver in ((node.info.get("Plugins") or {}).get("Network") or ()):
            return
    raise NotFound(f'plugin "{driver}" not found')


def _emptiest(cluster: Cluster) -> Node:
    nodes = [node for node in cluster.view.nodes.values() if node.healthy and node.member.availability == "active"]
    if not nodes:
        raise ServerError("No healthy node available in the cluster")
    return min(nodes, key=lambda node: (len(node.containers), node.name))


async def _claim(cluster: Cluster, request: netspec.NetworkRequest, mode: str, home: str) -> Network:
    for _ in range(ATTEMPTS):
        network = _draw(cluster, request, mode, home)
        wanted = [(keys.network(network.id), codec.encode(network)), (keys.netname(network.name), network.id.encode())]
        if mode == OVERLAY:
            wanted.append((keys.vni(network.vni), network.id.encode()))
            wanted += [(keys.subnet(subnet.cidr), network.id.encode()) for subnet in network.subnets]
        result = await cluster.txn([Absent(key) for key, _ in wanted], [Put(key, value) for key, value in wanted])
        if result.ok:
            return network
        if await cluster.reach(cluster.store.get(keys.netname(network.name))) is not None:
            raise Conflict(f"network with name {request.name} already exists")
    raise ServerError("could not find an available, non-overlapping IPv4 address pool among the defaults")


def _draw(cluster: Cluster, request: netspec.NetworkRequest, mode: str, home: str) -> Network:
    overlays = [held.value for held in cluster.records.networks.values() if held.value.mode == OVERLAY]
    used = [subnet.cidr for network in overlays for subnet in network.subnets]
    subnets: tuple[Subnet, ...] = request.subnets
    vni = 0
    if mode == OVERLAY:
        netspec.refuse_overlap(subnets, used)
        if not any(":" not in subnet.cidr for subnet in subnets):
            hosts = [node.ip for node in cluster.view.nodes.values() if node.ip[:1].isdigit()]
            subnets = (netspec.choose_subnet(used, avoid=hosts, pool=cluster.pool), *subnets)
        vni = netspec.choose_vni(network.vni for network in overlays)
    return Network(
        id=secrets.token_hex(32),
        name=request.name,
        mode=mode,
        home=home,
        vni=vni,
        subnets=list(subnets),
        mtu=request.mtu,
        internal=request.internal,
        ipv6=request.ipv6,
        labels=request.labels,
        body=msgspec.Raw(msgspec.json.encode(request.body)),
        created=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09d}Z",
    )


def not_here(cluster: Cluster, node: Node, network: Network) -> str:
    """Why this node can't carry the network, or "". No I/O: a filter asks it of every node."""
    if network.mode == LOCAL:
        if node.id == network.home:
            return ""
        home = cluster.view.nodes.get(network.home)
        return f"network {network.name} lives on {home.name if home else network.home}"
    if network.mode == OVERLAY and not node.agent_alive:
        return f"no agent runs there, so it cannot join network {network.name}"
    for local in node.networks.values():
        if local.get("Name") == network.name and not _is_copy(local, network.id) and not _is_ours(local):
            return f"another network {network.name} exists there"
    return ""


def _is_ours(local: dict[str, Any]) -> bool:
    return local.get("Driver") == options.DRIVER or options.LABEL_NETWORK in (local.get("Labels") or {})


def _is_copy(local: dict[str, Any], network_id: str) -> bool:
    if local.get("Id") == network_id:
        return True
    marks = (local.get("Options") or {}).get(options.NETWORK_ID), (local.get("Labels") or {}).get(options.LABEL_NETWORK)
    return network_id in marks


async def ensure(cluster: Cluster, node: Node, network: Network) -> str:
    """The node's own id of the network, which is made there if it is not. Raises the engine's own error."""
    async with cluster.locks[f"{node.id} {network.id}"]:
        end = time.monotonic() + COPY_WAIT
        while time.monotonic() < end:
            held = cluster.records.copies.get(network.id, {}).get(node.id)
            if held is not None and held.value.id:
                if held.value.id in node.networks or await exists(node, held.value.id):
                    return held.value.id
                await cluster.txn(
                    [ModIs(keys.netnode(network.id, node.id), held.revision)],
                    [Delete(keys.netnode(network.id, node.id))],
                )
            elif held is not None:  # another proxy makes it right now; its lease decides if it died
                await asyncio.sleep(0.02)
            elif network.mode == LOCAL and node.id != network.home:
                raise missing(network.name)
            elif (made := await _make(cluster, node, network)) is not None:
                return made
    raise ServerError(f"network {network.name} could not be made in time", node=node.name)


async def exists(node: Node, local_id: str) -> bool:
    """Whether the engine has the network right now. Raises EngineUnreachable, or the engine's own error."""
    answer = await node.engine.call("GET", f"/networks/{local_id}")
    if answer.status not in (200, 404):
        raise failed(answer.status, answer.body, node)
    return answer.status == 200


async def _make(cluster: Cluster, node: Node, network: Network) -> str | None:
    """Claims the copy and makes it; None when the claim was lost to another proxy. Raises when the record is gone."""
    key = keys.netnode(network.id, node.id)
    held = cluster.records.networks.get(network.id)
    if held is None:
        raise missing(network.name)
    unsure = functools.partial(_give_up_copy, cluster, node, network)
    try:
        claimed = await cluster.txn(
            [Absent(key), ModIs(keys.network(network.id), held.revision)],
            [Put(key, codec.encode(NetworkCopy()), cluster.lease())],
        )
        if not claimed.ok:
            return None
        local = await _make_on_engine(cluster, node, network)
        await cluster.txn([ModIs(key, claimed.revision)], [Put(key, codec.encode(NetworkCopy(id=local)))])
    except BaseException:
        cluster.spawn(unsure())
        raise
    await cluster.view.refresh_networks(node.id)
    return local


async def _give_up_copy(cluster: Cluster, node: Node, network: Network) -> None:
    """Ends a claim of ours that nobody works on any more, if it holds; what the engine has made is found by mark."""
    with contextlib.suppress(DockerError):
        await cluster.surely(functools.partial(_drop_copy_claim, cluster, node, network))


async def _drop_copy_claim(cluster: Cluster, node: Node, network: Network) -> None:
    async with cluster.locks[f"{node.id} {network.id}"]:
        kv = await cluster.reach(cluster.store.get(keys.netnode(network.id, node.id)))
        if kv is not None and kv.lease == cluster.session.lease:
            await cluster.txn([ModIs(kv.key, kv.mod_revision)], [Delete(kv.key)])


async def _make_on_engine(cluster: Cluster, node: Node, network: Network) -> str:
    filters = msgspec.json.encode({"name": [f"^{network.name}$"]}).decode()
    answer = await node.engine.call("GET", "/networks", query=urlencode({"filters": filters}))
    if answer.status != 200:
        raise failed(answer.status, answer.body, node)
    for local in msgspec.json.decode(answer.body, type=list[dict[str, Any]]):
        if local.get("Name") != network.name:
            continue
        if _is_copy(local, network.id):  # made by a try whose answer was lost
            return str(local["Id"])
        if _is_ours(local):  # left over from a network that is gone from the cluster
            await node.engine.call("DELETE", f"/networks/{local['Id']}", deadline=WORK)
    made = await node.engine.call(
        "POST",
        "/networks/create",
        body=_engine_body(network),
        deadline=WORK,
        headers={"Content-Type": "application/json"},
    )
    if made.status != 201:
        raise failed(made.status, made.body, node)
    return str(msgspec.json.decode(made.body)["Id"])


def _engine_body(network: Network) -> bytes:
    if network.mode != OVERLAY:
        body = msgspec.json.decode(network.body, type=dict[str, msgspec.Raw])
        labels = network.labels | {options.LABEL_NETWORK: network.id}
        return msgspec.json.encode(
            body | {"Labels": msgspec.Raw(msgspec.json.encode(labels)), "CheckDuplicate": msgspec.Raw(b"true")}
        )
    marks = {options.NETWORK_ID: network.id, options.NETWORK_VNI: str(network.vni)}
    if network.mtu:
        marks[options.NETWORK_MTU] = str(network.mtu)
    return msgspec.json.encode(
        {
            "Name": network.name,
            "CheckDuplicate": True,
            "Driver": options.DRIVER,
            "Options": marks,
            "Internal": network.internal,
            "EnableIPv6": network.ipv6,
            "Labels": network.labels,
            "IPAM": {
                "Driver": options.DRIVER,
                "Options": {options.NETWORK_ID: network.id},
                "Config": [{"Subnet": subnet.cidr, "Gateway": subnet.gateway} for subnet in network.subnets],
            },
        }
    )


async def remove(cluster: Cluster, reference: str) -> Network:
    """Removes a network nobody uses. Raises NotFound, Forbidden (predefined; active endpoints)."""
    if name := predefined(reference):
        raise Forbidden(f"{name} is a pre-defined network and cannot be removed")
    held = await seek(cluster, reference)
    if held is None:
        raise missing(reference)
    network = held.value
    if network.mode != OVERLAY:  # their endpoints are known to the engines alone: these decide, each for its copy
        await remove_copies(cluster, network, strict=True)
    await _decide(cluster, network)
    if network.mode == OVERLAY:
        await remove_copies(cluster, network, strict=False)
    return network


async def _decide(cluster: Cluster, network: Network) -> None:
    for _ in range(ATTEMPTS):
        revision, used = await cluster.reach(cluster.store.list(keys.endpoints(network.id)))
        if used:
            raise Forbidden(
                f"error while removing network: network {network.name} id {network.id} has active endpoints"
            )
        if await _forget(cluster, network, [NoneNewer(keys.endpoints(network.id), revision)]):
            return
    raise ServerError(f"network {network.name} changes too fast to be removed")


async def forget(cluster: Cluster, network_id: str) -> None:
    """Takes the record and everything claimed with it out of the store, whatever uses it."""
    held = cluster.records.networks.get(network_id)
    if held is not None:
        await _forget(cluster, held.value, [])


async def _forget(cluster: Cluster, network: Network, compares: list[Compare]) -> bool:
    kv = await cluster.reach(cluster.store.get(keys.network(network.id)))
    if kv is None:
        return True
    ops: list[Op] = [Delete(keys.network(network.id))]
    if cluster.records.netnames.get(network.name) == network.id:
        ops.append(Delete(keys.netname(network.name)))
    if network.mode == OVERLAY:
        ops.append(Delete(keys.vni(network.vni)))
        ops += [Delete(keys.subnet(subnet.cidr)) for subnet in network.subnets]
    return (await cluster.txn([ModIs(keys.network(network.id), kv.mod_revision), *compares], ops)).ok


async def remove_copies(cluster: Cluster, network: Network, *, strict: bool) -> None:
    """Removes the engines' copies, all at once. `strict`: the first refusal is raised and the record stays."""
    copies = dict(cluster.records.copies.get(network.id, {}))
    results = await asyncio.gather(
        *(_remove_copy(cluster, network, node_id, held) for node_id, held in copies.items()), return_exceptions=True
    )
    for result in results:
        if isinstance(result, BaseException) and (strict or not isinstance(result, DockerError)):
            raise result


async def _remove_copy(cluster: Cluster, network: Network, node_id: str, held: Held[NetworkCopy]) -> None:
    node = cluster.view.nodes.get(node_id)
    if node is not None and held.value.id:
        answer = await node.engine.call("DELETE", f"/networks/{held.value.id}", deadline=WORK)
        if answer.status not in (204, 404):
            raise failed(answer.status, node.swap_out(answer.body), node)
        await cluster.view.refresh_networks(node_id)
    key = keys.netnode(network.id, node_id)
    await cluster.txn([ModIs(key, held.revision)], [Delete(key)])
