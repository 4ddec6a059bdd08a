"""An engine's refusal, passed on: its status and its words, then which node it was."""

from __future__ import annotations

import msgspec

from swarmproxy.cluster.node import Node
from swarmproxy.model.errors import EngineFailed

FROM_PLUGIN = "remote: "
"""What an engine puts before the words of a network plugin; ours speaks Docker's words itself."""
PLUGIN_STATUS = {
    "Address already in use": 403,
    "no address can be given while the cluster's store is away": 503,
    "no endpoint can be made while the cluster's store is away": 503,
}
"""A plugin cannot say a status, so an engine makes 500 of all; these are what its own drivers' words come with."""


def failed(status: int, body: bytes, node: Node) -> EngineFailed:
    """From an error answer; a body that is not Docker-shaped is the message."""
    try:
        message = str(msgspec.json.decode(body)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        message = body.decode(errors="replace").strip()
    message = message.removeprefix(FROM_PLUGIN)
    said = next((one for words, one in PLUGIN_STATUS.items() if message.startswith(words)), status)
    return EngineFailed(message, node=node.name, status=said)
