"""One question to several engines at once, for as long as each of them answers at all.

Prune and disk usage take an engine as long as its disk takes, so no deadline would be right; but an engine that hangs
must not hold up the others' answer. So a call is given up when its node's health is: within some 10 s of silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from swarmproxy.cluster.node import Node
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model.errors import DockerError, EngineUnreachable

log = logging.getLogger(__name__)

T = TypeVar("T")


async def while_answering(cluster: Cluster, node: Node, work: Awaitable[T]) -> T:
    """The result of `work`; EngineUnreachable as soon as the node is given up."""
    lost = asyncio.get_running_loop().create_future()

    def look(changed: Node) -> None:
        if changed is node and not node.answering and not lost.done():
            lost.set_result(None)

    task = asyncio.ensure_future(work)
    stop = cluster.view.on_node(look)
    try:
        look(node)
        await asyncio.wait((task, lost), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise EngineUnreachable(
            f"Cannot connect to the Docker daemon at {node.engine.address.shown}. Is the docker daemon running?",
            node=node.name,
            reason=node.health.reason,
        )
    finally:
        stop()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))


async def ask_all(
    cluster: Cluster, nodes: Iterable[Node], ask: Callable[[Node], Awaitable[T]]
) -> tuple[list[tuple[Node, T]], list[DockerError]]:
    """(what was answered, in the order of the nodes, and what was not); raises nothing of an engine's."""
    asked = list(nodes)
    results = await asyncio.gather(
        *(while_answering(cluster, node, ask(node)) for node in asked), return_exceptions=True
    )
    told: list[tuple[Node, T]] = []
    errors: list[DockerError] = []
    for node, result in zip(asked, results, strict=True):
        if isinstance(result, DockerError):
            log.info("%s: left out: %s", node.name, result)
            errors.append(result)
        elif isinstance(result, BaseException):
            raise result
        else:
            told.append((node, result))
    return told, errors


async def list_again(
    cluster: Cluster,
    *looks: Callable[[str], Awaitable[None]],
    seconds: float | None = None,
    where: Callable[[Node], bool] = lambda _: True,
) -> None:
    """Healthy nodes are listed anew.

    Args:
        looks: the view's refreshes, by node id. seconds: a node that takes longer counts as it was known before.
        where: which of the nodes.
    """
    asked = [node.id for node in cluster.view.nodes.values() if node.healthy and where(node)]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(look(node) for look in looks for node in asked), return_exceptions=True)


async def look_again(cluster: Cluster, *looks: Callable[[str], Awaitable[None]], seconds: float | None = None) -> None:
    """Before a decision over all nodes: what other proxies' clients did a moment ago counts too. See `list_again`."""
    await cluster.settle()
    await list_again(cluster, *looks, seconds=seconds)
