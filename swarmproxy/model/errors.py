"""The one tree of errors that reach a client.

An error carries Docker's own words, the status an engine would give, and, where one node is the cause, its name and the
reason: `{"message": "No such container: x (node-3: connection refused)"}`. Clients match on the beginning of the
message, so Docker's words always come first.
"""

from __future__ import annotations

__all__ = [
    "BadRequest",
    "Conflict",
    "DockerError",
    "EngineFailed",
    "EngineTimeout",
    "EngineUnreachable",
    "Forbidden",
    "NotFound",
    "NotImplementedHere",
    "ServerError",
    "StoreLost",
]


class DockerError(Exception):
    """Base: a status and a Docker-shaped message.

    Args:
        message: Docker's words, complete; nothing is put before them.
        node: name of the node concerned, or "".
        reason: what happened there, or "".
        status: overrides the class's own.
    """

    status = 500

    def __init__(self, message: str, *, node: str = "", reason: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.words = message
        self.node = node
        self.reason = reason
        if status is not None:
            self.status = status

    @property
    def message(self) -> str:
        """What the client reads."""
        detail = ": ".join(part for part in (self.node, self.reason) if part)
        return f"{self.words} ({detail})" if detail else self.words

    def __str__(self) -> str:
        return self.message


class BadRequest(DockerError):
    status = 400


class Forbidden(DockerError):
    status = 403


class NotFound(DockerError):
    status = 404


class Conflict(DockerError):
    status = 409


class ServerError(DockerError):
    status = 500


class NotImplementedHere(DockerError):
    status = 501


class StoreLost(DockerError):
    """503: the cluster's store is away; what needs it is refused, all else goes on."""

    status = 503


class EngineFailed(DockerError):
    """An engine answered with an error; its status and words are passed on."""


class EngineUnreachable(DockerError):
    """No connection, or it broke before an answer. 503, so that clients may try again."""

    status = 503


class EngineTimeout(EngineUnreachable):
    """The engine took longer than the deadline of the call's class."""

    status = 504
