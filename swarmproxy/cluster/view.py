"""The cluster in memory, as every read sees it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from swarmproxy.cluster.catalog import Change
from swarmproxy.cluster.entry import Entry
from swarmproxy.cluster.events import EventHub
from swarmproxy.cluster.node import Node
from swarmproxy.cluster.records import Records
from swarmproxy.cluster.totals import Totals
from swarmproxy.discovery.store import Store
from swarmproxy.engine.client import Engine
from swarmproxy.model.records import Member

Rewrite = Callable[[dict[str, msgspec.Raw], Node], None]
OpenEngine = Callable[[str, str], Engine]


class View:
    """Everything the proxy knows. Lookups never wait; what waits says so by being async.

    Args:
        records: the store's mirror; its members are the nodes.
        rewrite: takes what is ours out of one list item, in place (network ids are swapped already).
        open_engine: (node name, address) → the client of one engine, not yet connected.
        store: for the one read of the miss path; None = no such read.
        node_names: show every container as `node/name`, as classic Swarm did.
    """

    nodes: dict[str, Node]
    records: Records
    events: EventHub
    totals: Totals

    def __init__(
        self,
        records: Records,
        *,
        rewrite: Rewrite,
        open_engine: Callable[[str, str], Engine],
        store: Store | None = None,
        node_names: bool = False,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None: ...

    async def run(self) -> None:
        """Keeps the view true until cancelled."""

    async def ready(self, timeout: float) -> bool:
        """Waits until every member has been listed or found unreachable; False when `timeout` seconds did not do."""

    # -- lookups ---------------------------------------------------------------------------------------------------
    def node(self, ref: str) -> Node | None:
        """By id or name."""

    def container(self, ref: str) -> Entry:
        """By full id, name, unique id prefix, `node/name` or `node/prefix`. Raises NotFound or BadRequest."""

    def find(self, ref: str) -> Entry | None:
        """As `container`, None instead of NotFound."""

    async def resolve(self, ref: str) -> Entry:
        """As `container`, and the miss path before NotFound."""

    def entries(self, all: bool = True) -> Iterator[Entry]:
        """Newest first; a snapshot: changes while iterating do not show."""

    def chunks(self, all: bool = False) -> Iterator[bytes]:
        """The body of an unfiltered list in pieces of one page each."""

    # -- truth -----------------------------------------------------------------------------------------------------
    async def refresh(self, node_id: str, container_id: str) -> Entry | None:
        """The engine's word, asked for after this call began. None when the container is gone.
        Raises EngineUnreachable."""

    def gone(self, node_id: str, container_id: str) -> None:
        """The engine has said that it removed this container."""

    async def refresh_images(self, node_id: str) -> None:
        """Lists again; returns when a list that started after this call is in. Raises EngineUnreachable."""

    async def refresh_volumes(self, node_id: str) -> None: ...

    async def refresh_networks(self, node_id: str) -> None: ...

    async def miss(self, ref: str) -> Entry | None:
        """What another proxy may have made a moment ago."""

    async def find_exec(self, exec_id: str) -> Node | None:
        """The node of an exec: remembered from events and `note_exec`, else asked of all healthy engines."""

    def note_exec(self, exec_id: str, node_id: str) -> None: ...

    def exit_code(self, container_id: str) -> int | None:
        """Of a container that ended lately, even when it is removed by now."""

    def on_change(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Told of every entry that appeared, changed or went; returns its unsubscribing."""
