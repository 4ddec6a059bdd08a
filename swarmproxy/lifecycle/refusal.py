"""An engine's refusal, passed on: its status and its words, then which node it was."""

from __future__ import annotations

import msgspec

from swarmproxy.cluster.node import Node
from swarmproxy.model.errors import EngineFailed

FROM_PLUGIN = "remote: "
"""What an engine puts before the words of a network plugin; ours speaks Docker's words itself."""


def failed(status: int, body: bytes, node: Node) -> EngineFailed:
    """From an error answer; a body that is not Docker-shaped is the message."""
    try:
        message = str(msgspec.json.decode(body)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        message = body.decode(errors="replace").strip()
    return EngineFailed(message.removeprefix(FROM_PLUGIN), node=node.name, status=status)
