"""Containers: lists and inspect, and the calls that need more than a passage to the owner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web

from swarmproxy.api import containerfilter, filters, replies, rewrite
from swarmproxy.api.call import Call
from swarmproxy.api.passthrough import as_spelt, passthrough
from swarmproxy.api.route import Route, Then
from swarmproxy.cluster.entry import Entry
from swarmproxy.cluster.node import Node
from swarmproxy.engine.client import Engine
from swarmproxy.engine.deadline import LASTING, STREAM
from swarmproxy.lifecycle import claims, create, network, rename, update
from swarmproxy.lifecycle import image as images
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.lifecycle.refusal import failed
from swarmproxy.model.errors import BadRequest, DockerError, EngineUnreachable, NotFound, StoreLost
from swarmproxy.model.records import OVERLAY, Member

JSON = {"Content-Type": "application/json"}

_NEXT = b","


_places: dict[str, tuple[tuple[Member, dict[str, Any], str], rewrite.Place]] = {}


def place(node: Node) -> rewrite.Place:
    """The same object until the member's record, the engine's info or the name is another."""
    held = _places.get(node.id)
    if held is None or held[0][0] is not node.member or held[0][1] is not node.info or held[0][2] != node.name:
        made = rewrite.Place(
            id=node.id,
            name=node.name,
            ip=node.ip,
            address=node.address,
            cpus=node.cpus,
            memory=node.memory,
            labels=node.labels,
        )
        held = _places[node.id] = ((node.member, node.info, node.name), made)
    return held[1]


async def owner(call: Call[Cluster]) -> tuple[Engine, str]:
    """Whose engine an OWNER row is passed to, and the full id."""
    reference = call.params["container"]
    try:
        entry = await call.cluster.view.resolve(reference)
    except NotFound as error:
        if call.path.endswith("/kill"):  # the one verb whose engines say which it was
            raise NotFound(f"cannot kill container: {reference}: {error.words}") from None
        raise
    return entry.node.engine, entry.id


async def exec_owner(call: Call[Cluster]) -> tuple[Engine, str]:
    exec_id = call.params["exec"]
    node = await call.cluster.view.find_exec(exec_id)
    if node is None:
        raise NotFound(f"No such exec instance: {exec_id}")
    return node.engine, exec_id


def _ended(entry: Entry) -> bool:
    return entry.state not in ("running", "paused")


_AGREES: dict[Then, Callable[[Entry], bool]] = {
    Then.ENDED: _ended,
    Then.RUNNING: lambda entry: entry.state != "paused",
    Then.PAUSED: lambda entry: entry.state == "paused",
}
FATAL = ("", "KILL", "SIGKILL", "9")
"""Signals after which a container has ended for certain."""


async def refresh_after(call: Call[Cluster], route: Route[Cluster]) -> None:
    """A caller always sees its own change: the container is read again before the reply's end is sent.

    An engine answers some commands before its own list knows of them, so the row says what the list must show.
    """
    if call.owner is None or (entry := call.cluster.view.find(call.owner[1])) is None:
        return
    obeyed = call.status in (200, 204) and call.query.get("signal").upper() in FATAL
    agrees = _AGREES.get(route.then) if obeyed else None
    await call.cluster.view.refresh(entry.node.id, entry.id, agrees=agrees or (lambda _: True))


def _limit(text: str) -> int:
    try:
        number = int(text or 0)
    except ValueError:
        raise DockerError(containerfilter.go_number_error("Atoi", text)) from None
    if abs(number) >= 1 << 63:
        raise DockerError(containerfilter.go_number_error("Atoi", text, "value out of range"))
    return number


async def list_(call: Call[Cluster]) -> web.StreamResponse:
    cluster, query = call.cluster, call.query
    limit = _limit(query.get("limit"))
    wanted = filters.parse(query.get("filters"), containerfilter.KNOWN)
    everything = query.flag("all") or limit > 0
    if not wanted and limit <= 0 and not query.flag("size"):
        return await replies.json_pages(call, list(cluster.view.chunks(everything)))
    tests, implied = containerfilter.compile_filter(cluster, wanted)
    found: list[Entry] = []
    for entry in cluster.view.entries(everything or implied):
        if all(test(entry) for test in tests):
            found.append(entry)
            if limit > 0 and len(found) == limit:
                break
    now = time.time()
    bodies = [entry.bytes(now) for entry in found]
    if query.flag("size"):
        sizes = await _sizes(cluster, found)
        bodies = [_with_size(body, sizes.get(entry.id, {})) for body, entry in zip(bodies, found, strict=True)]
    return replies.json(call, b"[" + _NEXT.join(bodies) + b"]")


async def _sizes(cluster: Cluster, entries: list[Entry]) -> dict[str, dict[str, msgspec.Raw]]:
    """Sizes are the engine's to compute; one that does not answer in time leaves its containers without."""
    nodes = {entry.node.id: entry.node for entry in entries if entry.node.healthy}

    async def ask(node: Node) -> list[dict[str, msgspec.Raw]]:
        answer = await node.engine.call("GET", "/containers/json", query="all=1&size=1")
        return msgspec.json.decode(answer.body, type=list[dict[str, msgspec.Raw]]) if answer.status == 200 else []

    lists = await asyncio.gather(*(ask(node) for node in nodes.values()), return_exceptions=True)
    return {
        msgspec.json.decode(item["Id"], type=str): {key: item[key] for key in ("SizeRw", "SizeRootFs") if key in item}
        for one in lists
        if not isinstance(one, BaseException)
        for item in one
    }


def _with_size(body: bytes, size: dict[str, msgspec.Raw]) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(body, type=dict[str, msgspec.Raw]) | size)


async def inspect(call: Call[Cluster]) -> web.StreamResponse:
    entry = await call.cluster.view.resolve(call.params["container"])
    node = entry.node
    answer = await node.engine.call("GET", f"/containers/{entry.id}/json", query=call.query.raw, version=call.version)
    if answer.status != 200:
        raise failed(answer.status, node.swap_out(answer.body), node)
    return replies.json(call, rewrite.inspect(node.swap_out(answer.body), place(node), shown_name=entry.shown))


async def create_(call: Call[Cluster]) -> web.StreamResponse:
    data = await call.json_body()
    created = await create.create(
        call.cluster,
        data,
        name=call.query.get("name"),
        platform=call.query.get("platform"),
        version=call.version,
    )
    return replies.json(call, {"Id": created.id, "Warnings": created.warnings}, status=201)


async def start(call: Call[Cluster]) -> web.StreamResponse:
    """Networks first: a copy that was removed while the container was stopped comes back before the engine looks."""
    cluster = call.cluster
    entry = await cluster.view.resolve(call.params["container"])
    node = entry.node
    for name, network_id in entry.networks.items():
        held = cluster.records.networks.get(network_id) or cluster.records.networks.get(
            cluster.records.netnames.get(name, "")
        )
        if held is not None and not network.not_here(cluster, node, held.value):
            try:
                await network.ensure(cluster, node, held.value)
            except StoreLost:
                if held.value.id not in node.local_of:
                    raise
    body = await call.request.read()
    headers = JSON if body else {}
    try:
        answer = await node.engine.call(
            "POST",
            f"/containers/{entry.id}/start",
            query=call.query.raw,
            body=body,
            headers=headers,
            deadline=LASTING,
            version=call.version,
        )
    finally:
        await _refresh_quietly(cluster, entry)
    if answer.status not in (204, 304):
        raise failed(answer.status, node.swap_out(answer.body), node)
    return replies.empty(call, answer.status)


async def restart(call: Call[Cluster]) -> web.StreamResponse:
    """Passed on, but not where the engine would stop the container and could not start it again."""
    cluster = call.cluster
    entry = await cluster.view.resolve(call.params["container"])
    networks = (cluster.records.networks.get(one) for one in entry.networks.values())
    if cluster.cache.lost_since is not None and any(one and one.value.mode == OVERLAY for one in networks):
        raise StoreLost(
            f"cluster store unavailable: {cluster.cache.reason}",
            reason="the container would get no address on its cluster network, so it is left running",
        )
    call.owner = entry.node.engine, entry.id
    return await passthrough(call, entry.node.engine, call.path_with(entry.id), after=refresh_after)


async def _refresh_quietly(cluster: Cluster, entry: Entry, agrees: Callable[[Entry], bool] = lambda _: True) -> None:
    try:
        await cluster.view.refresh(entry.node.id, entry.id, agrees=agrees)
    except EngineUnreachable:
        pass  # the view marks the engine; the call's own answer is what counts


async def remove(call: Call[Cluster]) -> web.StreamResponse:
    cluster = call.cluster
    entry = await cluster.view.resolve(call.params["container"])
    node = entry.node
    answer = await node.engine.call(
        "DELETE", f"/containers/{entry.id}", query=call.query.raw, deadline=LASTING, version=call.version
    )
    if answer.status == 204 or (answer.status == 404 and not call.query.flag("link")):
        await released(cluster, entry)
    if answer.status != 204:
        await _refresh_quietly(cluster, entry)
        raise failed(answer.status, node.swap_out(answer.body), node)
    return replies.empty(call)


async def released(cluster: Cluster, entry: Entry) -> None:
    """The container is gone: its name is free before the client can ask for it again."""
    held = cluster.records.alloc_of(entry.id)
    node_id, token = (held[0], held[1]) if held else (entry.node.id, entry.token)
    if token:
        try:
            await cluster.surely(lambda: claims.release(cluster, node_id, token))
        except StoreLost:
            pass  # the container is gone all the same; the claim is free when the store is back
    cluster.view.gone(entry.node.id, entry.id)


async def rename_(call: Call[Cluster]) -> web.StreamResponse:
    entry = await call.cluster.view.resolve(call.params["container"])
    await rename.rename(call.cluster, entry, call.query.get("name").removeprefix("/"))
    return replies.empty(call)


async def update_(call: Call[Cluster]) -> web.StreamResponse:
    body = await call.json_body()
    entry = await call.cluster.view.resolve(call.params["container"])
    node = entry.node
    answer = await node.engine.call(
        "POST", f"/containers/{entry.id}/update", body=body, headers=JSON, deadline=LASTING, version=call.version
    )
    if answer.status != 200:
        raise failed(answer.status, answer.body, node)
    await update.account(call.cluster, entry)
    await _refresh_quietly(call.cluster, entry)
    return replies.json(call, answer.body)


async def wait(call: Call[Cluster]) -> web.StreamResponse:
    """The head goes at once (`docker run` waits for it, then starts); a removal frees the name before it is told."""
    cluster = call.cluster
    reference = call.params["container"]
    condition = call.query.get("condition") or "not-running"
    if condition not in ("not-running", "next-exit", "removed"):
        raise DockerError(f'invalid condition: "{condition}"', status=400)
    try:
        entry = await cluster.view.resolve(reference)
    except NotFound:
        # Compose asks after start whether a container that may have removed itself has ended
        code = cluster.view.exit_code(reference)
        if condition != "removed" or code is None:
            raise
        return replies.json(call, {"StatusCode": code})
    node = entry.node
    async with node.engine.stream(
        "POST", f"/containers/{entry.id}/wait", query=call.query.raw, deadline=STREAM, version=call.version
    ) as answer:
        if answer.status != 200:
            raise failed(answer.status, await answer.read(), node)
        reply = web.StreamResponse(status=200, headers={**JSON, **call.headers})
        reply.enable_chunked_encoding()
        await reply.prepare(call.request)
        try:
            body = await answer.read()
        except EngineUnreachable as error:
            body = msgspec.json.encode({"StatusCode": 125, "Error": {"Message": str(error)}})
        else:
            if condition == "removed":
                await released(cluster, entry)
            else:
                await _refresh_quietly(cluster, entry, _ended)
        await reply.write(body)
        await reply.write_eof()
        return reply


async def exec_create(call: Call[Cluster]) -> web.StreamResponse:
    body = await call.json_body()
    entry = await call.cluster.view.resolve(call.params["container"])
    node = entry.node
    answer = await node.engine.call(
        "POST", f"/containers/{entry.id}/exec", body=body, headers=JSON, deadline=LASTING, version=call.version
    )
    if answer.status != 201:
        raise failed(answer.status, as_spelt(answer.body, entry.id, call.params["container"]), node)
    call.cluster.view.note_exec(msgspec.json.decode(answer.body)["Id"], node.id)
    return replies.json(call, answer.body, status=201)


async def commit(call: Call[Cluster]) -> web.StreamResponse:
    """The container is named in the query; the image's name means the new image everywhere from now on."""
    cluster, query = call.cluster, call.query
    if not query.get("container"):
        raise BadRequest('invalid name or ID supplied: ""')
    entry = await cluster.view.resolve(query.get("container"))
    node = entry.node
    body = await call.request.read()
    passed = {"container": entry.id}
    for key in ("repo", "tag", "comment", "author", "pause"):
        if key in query:
            passed[key] = query.get(key)
    pairs = [*passed.items(), *(("changes", change) for change in query.all("changes"))]
    answer = await node.engine.call(
        "POST",
        "/commit",
        query=urlencode(pairs),
        body=body or b"{}",
        headers=JSON,
        deadline=LASTING,
        version=call.version,
    )
    if answer.status != 201:
        raise failed(answer.status, answer.body, node)
    reply: dict[str, Any] = msgspec.json.decode(answer.body)
    await images.learn(cluster, node, reply["Id"])
    return replies.json(call, answer.body, status=201)


def quoted(name: str) -> str:
    return quote(name, safe="")
