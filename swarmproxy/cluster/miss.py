"""What the view does not know yet because another proxy made it a moment ago.

Asked before a 404 only. A name costs one read of the store and one call to the node that it names; a whole id is asked
of all healthy engines at once, the first that has it wins. Callers of one id share the question, and "nobody has it" is
remembered for a second, so a client that polls a removed container costs the engines one question a second at most.
Short prefixes are not asked for: no client could have learnt one from a fresh create.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from swarmproxy.cluster.entry import Entry, identity
from swarmproxy.cluster.lately import Recent
from swarmproxy.cluster.meeting import name_query, read_items
from swarmproxy.cluster.node import Node
from swarmproxy.discovery.store import Store, StoreError
from swarmproxy.model import codec, keys
from swarmproxy.model.errors import DockerError
from swarmproxy.model.records import Name

if TYPE_CHECKING:
    from swarmproxy.cluster.view import View

T = TypeVar("T")

_ID = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")

PATIENCE = 0.5
"""Seconds for all engines to answer."""
REMEMBERED = 1.0
"""Seconds for which "nobody has it" holds."""


class Miss:
    """The questions under way and those that found nothing."""

    def __init__(self, view: View, store: Store | None, monotonic: Callable[[], float]) -> None:
        self._view = view
        self._store = store
        self._monotonic = monotonic
        self._asking: dict[str, asyncio.Task[Any]] = {}
        self._nobody: Recent[float] = Recent()

    async def container(self, ref: str) -> Entry | None:
        ref = ref.removeprefix("/")
        if _ID.match(ref):
            return await self._shared(ref, lambda: self._first(lambda node: self._view.refresh(node.id, ref)))
        if _NAME.match(ref) and self._store is not None:
            return await self._shared(ref, lambda: self._by_name(ref))
        return None

    async def exec(self, exec_id: str) -> Node | None:
        if not _ID.match(exec_id):
            return None
        return await self._shared(f"exec {exec_id}", lambda: self._first(lambda node: _has_exec(node, exec_id)))

    async def _shared(self, key: str, ask: Callable[[], Awaitable[T | None]]) -> T | None:
        since = self._nobody.get(key)
        if since is not None and self._monotonic() - since < REMEMBERED:
            return None
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.ensure_future(ask())
            task.add_done_callback(lambda done: self._answered(key, done))
        found: T | None = await asyncio.shield(task)
        return found

    def _answered(self, key: str, task: asyncio.Task[Any]) -> None:
        del self._asking[key]
        if not task.cancelled() and task.exception() is None and task.result() is None:
            self._nobody.put(key, self._monotonic())

    async def _first(self, ask: Callable[[Node], Awaitable[T | None]]) -> T | None:
        """The first answer that is one."""
        nodes = [node for node in self._view.nodes.values() if node.healthy]
        tasks = [asyncio.ensure_future(ask(node)) for node in nodes]
        try:
            async with asyncio.timeout(PATIENCE):
                for done in asyncio.as_completed(tasks):
                    try:
                        found = await done
                    except DockerError:
                        continue
                    if found is not None:
                        return found
        except TimeoutError:
            pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return None

    async def _by_name(self, name: str) -> Entry | None:
        """By the claim: it names the node, and a bound claim's container is there."""
        assert self._store is not None
        try:
            kv = await self._store.get(keys.name(name))
        except StoreError:
            return None
        claim = codec.decode(Name, kv.value) if kv is not None else None
        node = self._view.nodes.get(claim.node) if claim is not None else None
        if node is None or not node.healthy:
            return None
        try:
            answer = await node.engine.call("GET", "/containers/json", query=name_query(name))
            for raw in read_items(answer, node):
                entry = await self._view.refresh(node.id, identity(raw))
                if entry is not None and entry.name == name:
                    return entry
        except DockerError:
            return None
        return None


async def _has_exec(node: Node, exec_id: str) -> Node | None:
    answer = await node.engine.call("GET", f"/exec/{exec_id}/json")
    return node if answer.status == 200 else None
