"""Managed plugins: each engine has its own, so all but the list names the node: `docker plugin enable node-1/NAME`.

The list shows them in the same form. An install names its node in the alias (`docker plugin install --alias
node-1/NAME REPOSITORY`); without a node the engine's own 404 is the answer.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web

from swarmproxy.api import replies
from swarmproxy.api.call import Call
from swarmproxy.api.passthrough import passthrough
from swarmproxy.api.query import Query
from swarmproxy.cluster.node import Node
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.lifecycle.refusal import failed
from swarmproxy.model.errors import DockerError, NotFound


async def list_(call: Call[Cluster]) -> web.StreamResponse:
    async def ask(node: Node) -> list[dict[str, Any]]:
        answer = await node.engine.call("GET", "/plugins", query=call.query.raw, version=call.version)
        if answer.status != 200:
            raise failed(answer.status, answer.body, node)
        found = msgspec.json.decode(answer.body, type=list[dict[str, Any]] | None) or []
        return [{**one, "Name": f"{node.name}/{one.get('Name')}"} for one in found]

    nodes = sorted((node for node in call.cluster.view.nodes.values() if node.healthy), key=lambda node: node.name)
    results = await asyncio.gather(*map(ask, nodes), return_exceptions=True)
    errors = [one for one in results if isinstance(one, BaseException)]
    if errors and (len(errors) == len(results) or not all(isinstance(one, DockerError) for one in errors)):
        raise errors[0]
    return replies.json(call, [one for part in results if not isinstance(part, BaseException) for one in part])


def _named(call: Call[Cluster], reference: str) -> tuple[Node, str]:
    first, slash, rest = reference.partition("/")
    node = call.cluster.view.node(first) if slash and rest else None
    if node is None:
        raise NotFound(f'plugin "{reference}" not found', reason="name its node: node/plugin")
    return node, rest


async def one(call: Call[Cluster]) -> web.StreamResponse:
    """Whatever is done to one plugin that is there."""
    node, name = _named(call, call.params["plugin"])
    return await passthrough(call, node.engine, call.path_with(quote(name, safe="/:@")))


async def new(call: Call[Cluster]) -> web.StreamResponse:
    """pull, create: the new plugin's name tells where."""
    node, name = _named(call, call.query.get("name") or call.query.get("remote"))
    pairs = [(key, value) for key, values in call.query.items() if key != "name" for value in values]
    call.query = Query(urlencode([*pairs, ("name", name)]))
    return await passthrough(call, node.engine, call.path)
