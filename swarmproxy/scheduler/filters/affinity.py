"""Affinities: near (or away from) containers, images, or containers that carry a label.

`container` compares names and ids, `image` compares ids, tags and repositories of what is stored there, any other key
is a container label. Containers that lack the label do not take part.
"""

from __future__ import annotations

from collections.abc import Iterator

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.reason import Reason
from swarmproxy.scheduler.request import Request

FAR = "affinity {text} does not hold"


def check(request: Request, node: NodeSnapshot) -> Reason | None:
    for expression in request.affinities:
        if not expression.holds(*_subjects(expression.key, node)):
            return Reason(FAR, text=expression.text)
    return None


def conditions(request: Request) -> tuple[str, ...]:
    return tuple(map(str, request.affinities))


def _subjects(key: str, node: NodeSnapshot) -> Iterator[str]:
    if key == "container":
        for container in node.containers:
            yield container.id
            yield container.name
    elif key == "image":
        for image in node.images:
            yield image
            repository, colon, tag = image.rpartition(":")
            if colon and "/" not in tag and repository != "sha256":
                yield repository.partition("@")[0]
    else:
        for container in node.containers:
            if key in container.labels:
                yield container.labels[key]
