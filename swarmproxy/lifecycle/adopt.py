"""Adoption: what engines hold without a claim gets one.

Three ways lead here: engines that held containers before they joined, containers made behind our back, and containers
whose proxy died between the engine's create and the bind. All end the same: a bound claim. The first claim of a name
(by Created, then node id) owns the plain name; the others keep their claim without the name, are shown as `node/name`,
and take the plain name when it falls free. Joining never fails for this and never deletes, with one exception: a
container that one of us made, that never ran, and whose name has gone to another meanwhile is the rest of a create
that its client saw fail.

A token counts only together with its container id: a label that commit or a client has copied does not claim anything.
All of it is create-if-absent, so any number of proxies may adopt at once. Cost: one inspect and one transaction a
container, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from swarmproxy.cluster.catalog import Change
from swarmproxy.cluster.entry import Entry
from swarmproxy.cluster.records import Changed, Held
from swarmproxy.discovery.store import Absent, Compare, ModIs, Op, Put, Unavailable
from swarmproxy.engine.deadline import LASTING
from swarmproxy.lifecycle import claims, rename
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model import codec, keys
from swarmproxy.model.errors import BadRequest, DockerError
from swarmproxy.model.records import BOUND, PENDING, Alloc, Name
from swarmproxy.scheduler.body import parse_request

log = logging.getLogger(__name__)

AT_ONCE = 8
RETRY_SECONDS = 1.0
FIRST_SECONDS = 10.0
"""What slow engines are waited for at the start."""


class Adoption:
    """Runs beside the requests; `run` until cancelled."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._dirty: dict[str, Entry] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        records, view = self._cluster.records, self._cluster.view
        undo = (
            view.on_change(self._on_entry),
            records.listen(keys.NAMES, self._on_name),
            records.listen(keys.ALLOC, self._on_alloc),
        )
        self._mark(view.entries(True))
        try:
            await self._look_around()
            while True:
                await self._wake.wait()
                self._wake.clear()
                if not await self._round():
                    await asyncio.sleep(RETRY_SECONDS)
                    self._wake.set()
        finally:
            for stop in undo:
                stop()

    async def _look_around(self) -> None:
        """Waits for all members' lists: who is heard first shall not decide who owns a name."""
        while not self._cluster.cache.revision:
            with contextlib.suppress(Unavailable):
                await self._cluster.cache.ready(FIRST_SECONDS)
        await self._cluster.view.ready(FIRST_SECONDS)

    def _mark(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._dirty[entry.id] = entry
            self._wake.set()

    def _on_entry(self, change: Change) -> None:
        if change.kind != "gone":
            self._mark([change.entry])
        else:
            self._dirty.pop(change.entry.id, None)

    def _on_name(self, change: Changed) -> None:
        if change.new is None:  # a plain name fell free: who is called so may take it
            self._mark(self._cluster.view.entries_named(change.path[0]))

    def _on_alloc(self, change: Changed) -> None:
        if change.new is not None:
            return
        node = self._cluster.view.nodes.get(change.path[0])
        if node is None:
            return
        token, container = change.path[1], change.old.value.container if change.old else ""
        self._mark(entry for entry in node.containers.values() if entry.token == token or entry.id == container)

    async def _round(self) -> bool:
        """Settles all that is marked, oldest first; False when something must be tried again."""
        entries = sorted(self._dirty.values(), key=lambda entry: (entry.created, entry.node.id, entry.id))
        self._dirty.clear()
        whole = True
        for start in range(0, len(entries), AT_ONCE):
            batch = entries[start : start + AT_ONCE]
            # inspects run side by side, claims one after another: the order decides who gets a name
            facts = await asyncio.gather(*(self._facts(entry) for entry in batch), return_exceptions=True)
            for entry, fact in zip(batch, facts, strict=True):
                settled = False
                try:
                    if isinstance(fact, BaseException):
                        raise fact
                    settled = await self._settle(entry, fact)
                except Exception as error:  # one odd container must not keep the others from their claims
                    level = logging.DEBUG if isinstance(error, DockerError) else logging.ERROR
                    log.log(level, "adoption of %s waits: %r", entry.id[:12], error)
                if not settled and entry.node.containers.get(entry.id) is not None:
                    self._dirty[entry.id] = entry
                    whole = False
        return whole

    async def _facts(self, entry: Entry) -> Alloc | None:
        """What the container takes, from inspect; None when it has a claim already or is gone."""
        if self._cluster.records.alloc_of(entry.id) is not None or self._in_the_making(entry):
            return None
        answer = await entry.node.engine.call("GET", f"/containers/{entry.id}/json")
        if answer.status != 200:
            return None
        body: dict[str, Any] = msgspec.json.decode(answer.body)
        return alloc_from_inspect(body)

    def _in_the_making(self, entry: Entry) -> bool:
        held = self._cluster.records.allocs.get(entry.node.id, {}).get(entry.token)
        return held is not None and held.value.state == PENDING

    async def _settle(self, entry: Entry, fact: Alloc | None) -> bool:
        known = self._cluster.records.alloc_of(entry.id)
        if known is not None:
            await self._settle_name(entry, known[1], known[2])
        elif fact is not None and not self._in_the_making(entry):
            return await self._claim(entry, fact)
        return True

    async def _settle_name(self, entry: Entry, token: str, held: Held[Alloc]) -> None:
        """A bound claim follows the name that the engine says, and takes it when it is free."""
        owner = self._cluster.records.names.get(entry.name)
        if held.value.state == PENDING:
            return
        if owner is None:
            await rename.move(self._cluster, entry.node.id, token, held, entry.name, None)
        elif owner.value.token == token and held.value.name != entry.name and not owner.lease:
            await rename.move(self._cluster, entry.node.id, token, held, entry.name, owner.revision)

    async def _claim(self, entry: Entry, fact: Alloc) -> bool:
        """False when somebody changes the claim right now: it is looked at again."""
        cluster, node = self._cluster, entry.node
        others = cluster.records.allocs.get(node.id, {}).get(entry.token)
        token = entry.token if entry.token and others is None else f"adopted-{entry.id[:24]}"
        alloc = Alloc(
            name=entry.name,
            cpu=fact.cpu,
            memory=fact.memory,
            ports=fact.ports,
            unit=fact.unit,
            state=BOUND,
            container=entry.id,
            since=time.time(),
            adopted=True,
        )
        alloc_key, name_key = keys.alloc(node.id, token), keys.name(entry.name)
        compares: list[Compare] = [Absent(alloc_key), Absent(name_key)]
        ops: list[Op] = [
            Put(alloc_key, codec.encode(alloc)),
            Put(name_key, codec.encode(Name(token=token, node=node.id))),
        ]
        if not (entry.name and (await cluster.txn(compares, ops)).ok):
            if entry.token and entry.state == "created" and await self._is_leftover(entry):
                log.info("removing %s on %s: its create failed and its name is taken", entry.id[:12], node.name)
                await node.engine.call("DELETE", f"/containers/{entry.id}", query="v=1", deadline=LASTING)
                return True
            # without the name only while it is another's; else its own creator stands, or stood just now, in the way
            kv = await cluster.reach(cluster.store.get(name_key))
            holder = codec.decode(Name, kv.value) if kv else None
            if kv is None or (holder is not None and holder.token == token):
                return False
            if not (await cluster.txn([Absent(alloc_key), ModIs(name_key, kv.mod_revision)], ops[:1])).ok:
                return False
        if entry.id not in node.containers:  # it went meanwhile, and nobody knew of a claim to release
            await claims.release(cluster, node.id, token)
        return True

    async def _is_leftover(self, entry: Entry) -> bool:
        """Its name belongs to another container that is bound: nobody waits for this one any more."""
        claim = self._cluster.records.claim(entry.name)
        return claim is not None and claim[2] not in ("", entry.id) and claim[1] != entry.token


def alloc_from_inspect(body: dict[str, Any]) -> Alloc:
    """CPU, memory, ports and Compose unit of an existing container."""
    config = body.get("Config") or {}
    read = {**config, "HostConfig": body.get("HostConfig") or {}, "Env": []}
    try:
        request = parse_request(read).request
    except BadRequest:  # labels that only look like ours
        request = parse_request({**read, "Labels": {}}).request
    return Alloc(cpu=request.cpu, memory=request.memory, ports=list(request.ports), unit=request.unit)
