"""Image references the way an engine reads them: familiar names, tags, digests, and its complaints."""

from __future__ import annotations

import re
from dataclasses import dataclass

from swarmproxy.model.errors import DockerError
from swarmproxy.testing.flavour import Flavour

__all__ = ["Name", "parse"]

_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"(?:[a-zA-Z0-9.-]+(?::[0-9]+)?/)?{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[a-z0-9]+:[0-9a-f]{32,}")


@dataclass(frozen=True, slots=True)
class Name:
    """`repository` is familiar: without docker.io/ and library/."""

    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def tagged(self) -> str:
        return f"{self.repository}:{self.tag or 'latest'}"

    @property
    def digested(self) -> str:
        return f"{self.repository}@{self.digest}"

    @property
    def complete(self) -> str:
        """With its digest, or its tag, `latest` when it has none."""
        return self.digested if self.digest else self.tagged


def parse(text: str, flavour: Flavour, *, status: int = 400) -> Name:
    """Raises DockerError with an engine's words and `status`."""
    rest, _, digest = text.partition("@")
    repository, tag = rest, ""
    head, colon, tail = rest.rpartition(":")
    if colon and "/" not in tail:
        repository, tag = head, tail
    for prefix in ("docker.io/", "index.docker.io/"):
        repository = repository.removeprefix(prefix)
    if repository.count("/") == 1:
        repository = repository.removeprefix("library/")
    if not _REPOSITORY.fullmatch(repository) or (tag and not _TAG.fullmatch(tag)) or (colon and not tag):
        if _REPOSITORY.fullmatch(repository.lower()) and repository != repository.lower():
            full = repository if "/" in repository else f"library/{repository}"
            name = flavour.say("repository name must", f"repository name ({full}) must")
            raise DockerError(f"invalid reference format: {name} be lowercase", status=status)
        raise DockerError("invalid reference format", status=status)
    if digest and not _DIGEST.fullmatch(digest):
        raise DockerError("invalid reference format", status=status)
    return Name(repository, tag, digest)
