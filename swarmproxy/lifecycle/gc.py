"""Garbage: claims and records whose object is gone.

Most go soon: a container that an engine destroyed releases its claim, whoever removed it. The proxy that relayed the
removal has done so before its client knew, so everybody else waits a moment and mostly finds nothing left to do. The
sweep finds the rest: claims whose container a healthy engine does not know (asked again before anything is deleted),
names without a claim, volumes whose owner does not have them, and everything of members that were removed. Silence is
no proof: nothing is deleted for a node that does not answer or was not listed, nor while the store is away. Every
deletion is a `ModIs`, so all proxies may sweep.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Any

from swarmproxy.cluster.catalog import Change
from swarmproxy.cluster.records import Held
from swarmproxy.discovery.store import Delete, ModIs, NoneNewer, Op, Put
from swarmproxy.lifecycle import claims, network
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model import codec, keys
from swarmproxy.model.errors import DockerError
from swarmproxy.model.records import BOUND, PENDING

log = logging.getLogger(__name__)

SWEEP_SECONDS = 5.0
YOUNG_SECONDS = 10.0
RELEASE_SECONDS = (0.02, 0.05)
"""Short enough that a port is free again before a person, or a script's next process, asks for it."""


class Collector:
    """Runs beside the requests; `run` until cancelled."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._missed: set[tuple[str, str]] = set()
        self._nameless: set[str] = set()
        self._dataless: set[tuple[str, int]] = set()

    async def run(self) -> None:
        stop = self._cluster.view.on_change(self._on_entry)
        try:
            while True:
                await asyncio.sleep(SWEEP_SECONDS)
                if self._cluster.cache.lost_since is None:
                    try:
                        await self.sweep()
                    except DockerError as error:
                        log.debug("sweep waits: %s", error)
                    except Exception:
                        log.exception("sweep failed")
        finally:
            stop()

    def _on_entry(self, change: Change) -> None:
        if change.kind == "gone":
            self._cluster.spawn(self._release(change.entry.id))

    async def _release(self, container: str) -> None:
        await asyncio.sleep(random.uniform(*RELEASE_SECONDS))
        held = self._cluster.records.alloc_of(container)
        if held is None or held[2].value.state != BOUND:
            return
        try:
            await self._cluster.surely(lambda: claims.release(self._cluster, held[0], held[1]))
        except DockerError as error:
            log.info("claim of %s is released later: %s", container[:12], error)

    async def sweep(self) -> None:
        await self._claims()
        await self._names()
        await self._volumes()
        await self._members()

    async def _claims(self) -> None:
        cluster, missed = self._cluster, set()
        for node in cluster.view.nodes.values():
            if not node.healthy or not node.ready:
                continue
            for token, held in list(cluster.records.allocs.get(node.id, {}).items()):
                alloc = held.value
                young = time.time() - alloc.since < YOUNG_SECONDS
                if alloc.state != BOUND or young or alloc.container in node.containers:
                    continue
                missed.add((node.id, token))
                if (node.id, token) not in self._missed:
                    continue
                answer = await node.engine.call("GET", f"/containers/{alloc.container}/json")
                if answer.status == 404:
                    await claims.release(cluster, node.id, token)
        self._missed = missed

    async def _names(self) -> None:
        """A name points to a claim; one that does not for two sweeps was left by a half-lost store."""
        records, nameless = self._cluster.records, set()
        for name, held in list(records.names.items()):
            if held.lease or held.value.token in records.allocs.get(held.value.node, {}):
                continue
            nameless.add(name)
            if name in self._nameless:
                await self._cluster.txn([ModIs(held.key, held.revision)], [Delete(held.key)])
        self._nameless = nameless

    async def _volumes(self) -> None:
        """An owner without the data: its create died before the engine made it, or an engine was told to remove it.

        Whoever has a pending claim on the node may be about to make it.
        """
        cluster, dataless = self._cluster, set()
        for name, held in list(cluster.records.volumes.items()):
            node, seen = cluster.view.nodes.get(held.value.owner), cluster.cache.revision
            if node is None or not node.healthy or not node.ready or name in node.volumes:
                continue
            if any(one.value.state == PENDING for one in cluster.records.allocs.get(node.id, {}).values()):
                continue
            dataless.add((name, held.revision))
            if (name, held.revision) not in self._dataless:
                continue
            answer = await node.engine.call("GET", f"/volumes/{name}")
            if answer.status != 404:
                continue
            forgotten = held.value.implicit or held.value.adopted
            op: Op = Delete(held.key)
            if not forgotten:
                op = Put(held.key, codec.amend(held.raw, claims.replace_owner(held.value, "")))
            await cluster.txn([ModIs(held.key, held.revision), NoneNewer(keys.allocs(node.id), seen)], [op])
        self._dataless = dataless

    async def _members(self) -> None:
        """What belongs to members that are no more."""
        cluster, records = self._cluster, self._cluster.records
        for held in self._orphans():
            await cluster.txn([ModIs(held.key, held.revision)], [Delete(held.key)])
        homes = [(held.value.id, held.value.home) for held in records.networks.values()]
        for network_id, home in homes:
            if home and home not in records.members:
                await network.forget(cluster, network_id)

    def _orphans(self) -> list[Held[Any]]:
        records = self._cluster.records
        members = records.members
        gone: list[Held[Any]] = []
        for node, tokens in records.allocs.items():
            if node not in members:
                gone += tokens.values()
        for addresses in records.addresses.values():
            gone += [held for held in addresses.values() if held.value.node not in members]
        for endpoints in records.endpoints.values():
            gone += [held for held in endpoints.values() if held.value.node not in members]
        for copies in records.copies.values():
            gone += [held for node, held in copies.items() if node not in members]
        gone += [held for held in records.volumes.values() if held.value.owner and held.value.owner not in members]
        return gone
