"""Image references: the short form that people write is the long form that registries know.

`busybox`, `busybox:latest`, `library/busybox` and `docker.io/library/busybox:latest` are one reference; the cluster
keeps it under the familiar form `busybox:latest`. Grammar: distribution/reference (name components of lower-case
letters and digits with separators, an optional host with dot, colon or "localhost", tag ≤ 128 characters).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from swarmproxy.model.errors import BadRequest

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_HOST = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9-]+)*(?::[0-9]+)?\Z|\[[0-9a-fA-F:]+\](?::[0-9]+)?\Z"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}\Z")
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}\Z")
_ID_PREFIX = re.compile(r"(?:sha256:)?[0-9a-f]{2,64}\Z")


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference. `name` is the familiar repository name; one of `tag` and `digest` may be ""."""

    name: str
    tag: str
    digest: str

    @property
    def familiar(self) -> str:
        """`repo:tag` (":latest" where neither tag nor digest was given) or `repo@digest`."""
        if self.digest:
            return f"{self.name}@{self.digest}"
        return f"{self.name}:{self.tag or 'latest'}"


def parse(text: str) -> Reference:
    """Raises BadRequest `invalid reference format` in Docker's words."""
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.match(digest):
        raise BadRequest("invalid reference format")
    head, colon, tail = rest.rpartition(":")
    name, tag = (head, tail) if colon and "/" not in tail else (rest, "")
    if (colon and not tag and rest.endswith(":")) or (tag and not _TAG.match(tag)):
        raise BadRequest("invalid reference format")
    host, path = _split_host(name)
    if not path or len(name) > 255:
        raise BadRequest("invalid reference format")
    if not _PATH.match(path):
        if _PATH.match(path.lower()):
            shown = f"library/{path}" if not host and "/" not in path else path
            raise BadRequest(f"invalid reference format: repository name ({shown}) must be lowercase")
        raise BadRequest("invalid reference format")
    if host and not _HOST.match(host):
        raise BadRequest("invalid reference format")
    if host in ("docker.io", "index.docker.io"):
        host = ""
    if not host:
        path = path.removeprefix("library/") if path.count("/") == 1 else path
    return Reference(name=f"{host}/{path}" if host else path, tag=tag, digest=digest.lower())


def _split_host(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        return first, rest
    return "", name


def is_id(text: str) -> bool:
    """A whole image id, with or without "sha256:"."""
    return _ID.match(text) is not None


def is_id_prefix(text: str) -> bool:
    return _ID_PREFIX.match(text) is not None
