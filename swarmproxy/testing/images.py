"""Images: made from a name, pulled with canned progress, tagged, removed, saved and loaded.

An image's id is the digest of its configuration document, as with a real engine, so it survives save and load; one made
from a name is the same on every simulated engine. Layers are a few bytes.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import msgspec

from swarmproxy.model.errors import BadRequest, Conflict, NotFound
from swarmproxy.testing.daemon import Daemon, rfc3339
from swarmproxy.testing.filters import Filters, boolean, labelled
from swarmproxy.testing.objects import Container, Image
from swarmproxy.testing.references import parse
from swarmproxy.testing.shapes import graph_driver

__all__ = ["add", "build", "inspect", "listing", "load", "pull", "remove", "save", "summary", "tag"]

Tree = dict[str, Any]

CREATED = 1_704_067_200
SIZE = 1_984_207
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@lru_cache(maxsize=256)
def build(name: str, variant: str = "") -> Image:
    """The image that `name` means; another `variant` is another image (a newer push of the same tag)."""
    config: Tree = {"Env": [_PATH], "Cmd": ["sh"]}
    if name.partition(":")[0].endswith("nginx"):
        config |= {"Cmd": ["nginx"], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT"}
    layer = "sha256:" + hashlib.sha256(f"{name} {variant}".encode()).hexdigest()
    return _from_document(
        msgspec.json.encode(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": rfc3339(CREATED * 1_000_000_000),
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [layer]},
                "history": [{"created": rfc3339(CREATED * 1_000_000_000), "created_by": f"{name} {variant}".strip()}],
            }
        )
    )


def _from_document(document: bytes) -> Image:
    tree = msgspec.json.decode(document, type=dict[str, Any])
    return Image(
        id="sha256:" + hashlib.sha256(document).hexdigest(),
        document=document,
        config=tree.get("config") or {},
        layers=tuple((tree.get("rootfs") or {}).get("diff_ids") or ()),
        architecture=tree.get("architecture", "amd64"),
        created=CREATED,
        size=SIZE,
    )


def add(daemon: Daemon, reference: str, image: Image | None = None) -> Image:
    """Puts an image there without events, as if it had always been."""
    name = parse(reference, daemon.flavour)
    image = image or build(name.complete)
    daemon.images[image.id] = image
    _point(daemon, name.complete, image, digest=bool(name.digest))
    return image


def _point(daemon: Daemon, reference: str, image: Image, *, digest: bool = False) -> None:
    (daemon.digests if digest else daemon.tags)[reference] = image.id
    _spoil(daemon)


def _spoil(daemon: Daemon) -> None:
    """A tag moved: containers may show an id instead of a name, or a name again."""
    for container in daemon.containers.values():
        container.changed()


def _references(daemon: Daemon, image: Image) -> tuple[list[str], list[str]]:
    tags = sorted(tag for tag, key in daemon.tags.items() if key == image.id)
    return tags, sorted(digest for digest, key in daemon.digests.items() if key == image.id)


# ---------------------------------------------------------------- reading


def wanted(daemon: Daemon, reference: str, *, complete: bool = True) -> Image:
    """Raises NotFound with the words of inspect."""
    image = daemon.image(reference)
    if image is None:
        whole = _complete(daemon, reference) if complete else reference
        if daemon.flavour.old and complete:
            raise NotFound(f"no such image: {reference}: No such image: {whole}")
        raise NotFound(f"No such image: {whole}")
    return image


def _complete(daemon: Daemon, reference: str) -> str:
    return reference if reference.startswith("sha256:") else parse(reference, daemon.flavour).complete


def summary(daemon: Daemon, image: Image, api: tuple[int, ...], only: Iterable[str] | None = None) -> Tree:
    """One element of images/json; `only` limits the tags shown."""
    tags, digests = _references(daemon, image)
    if only is not None:
        tags = [tag for tag in tags if tag in only]
    shape: Tree = {
        "Containers": -1,
        "Created": image.created,
        "Id": image.id,
        "Labels": image.config.get("Labels"),
        "ParentId": "",
        "RepoDigests": digests or ([] if api >= (1, 43) else None),
        "RepoTags": tags or ([] if api >= (1, 43) else None),
        "SharedSize": -1,
        "Size": image.size,
    }
    if not tags and not digests and api < (1, 43):
        shape |= {"RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]}
    if api < (1, 44):
        shape["VirtualSize"] = image.size
    return shape


def listing(daemon: Daemon, filters: Filters, api: tuple[int, ...]) -> list[Tree]:
    shown = []
    for image in daemon.images.values():
        tags, _ = _references(daemon, image)
        if "dangling" in filters and boolean(next(iter(filters["dangling"]))) == bool(tags):
            continue
        if not labelled(image.config.get("Labels") or {}, filters.get("label", ())):
            continue
        only = None
        if "reference" in filters:
            only = [tag for tag in tags if any(_familiar_match(pattern, tag) for pattern in filters["reference"])]
            if not only:
                continue
        shown.append(summary(daemon, image, api, only))
    return shown


def _familiar_match(pattern: str, tag: str) -> bool:
    subject = tag if ":" in pattern.rpartition("/")[2] else tag.rpartition(":")[0]
    same_depth = subject.count("/") == pattern.count("/")
    return same_depth and fnmatchcase(subject, pattern)


def inspect(daemon: Daemon, image: Image, api: tuple[int, ...]) -> Tree:
    tags, digests = _references(daemon, image)
    empty: Tree = {
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": False,
        "AttachStderr": False, "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": None, "Cmd": None,
        "Image": "", "Volumes": None, "WorkingDir": "", "Entrypoint": None, "OnBuild": None, "Labels": None,
    }  # fmt: skip
    shape: Tree = {
        "Id": image.id,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": "",
        "Created": rfc3339(image.created * 1_000_000_000),
    }
    if daemon.flavour.old:
        shape["Container"] = ""
    if api < (1, 45):
        shape["ContainerConfig"] = empty
    shape |= {
        "DockerVersion": "",
        "Author": "",
        "Config": empty | image.config,
        "Architecture": image.architecture,
        "Os": "linux",
        "Size": image.size,
    }
    if api < (1, 44):
        shape["VirtualSize"] = image.size
    shape["GraphDriver"] = graph_driver(daemon, image.id)
    shape["RootFS"] = {"Type": "layers", "Layers": list(image.layers)}
    shape["Metadata"] = {"LastTagTime": "0001-01-01T00:00:00Z"}
    return shape


# ---------------------------------------------------------------- changing


def tag(daemon: Daemon, reference: str, repo: str, version: str) -> None:
    target = f"{repo}:{version}" if version else repo
    if not daemon.flavour.old:
        parse(target, daemon.flavour)
    image = daemon.image(reference)
    if image is None:
        raise NotFound(f"No such image: {_complete(daemon, reference)}")
    name = parse(target, daemon.flavour, status=500)
    if name.digest:
        raise BadRequest("refusing to create a tag with a digest reference")
    _point(daemon, name.tagged, image)
    daemon.emit("image", "tag", image.id, {"name": name.tagged})


def pull(daemon: Daemon, reference: str, version: str) -> list[Tree]:
    """The progress lines.

    Raises:
        NotFound: the registry does not have it.
    """
    joiner = "@" if version.startswith("sha256:") else ":"
    name = parse(f"{reference}{joiner}{version}" if version else reference, daemon.flavour)
    known = daemon.registry
    if (known is not None and name.complete not in known) or (known is None and "nosuch" in name.repository):
        raise NotFound(
            f"pull access denied for {name.repository}, repository does not exist or may require 'docker login': "
            "denied: requested access to the resource is denied"
        )
    key = daemon.digests.get(name.digested) if name.digest else daemon.tags.get(name.tagged)
    image = build(name.complete)
    fresh = key != image.id
    path = name.repository if "/" in name.repository else f"library/{name.repository}"
    layer = image.layers[0][7:19]
    lines: list[Tree] = [{"status": f"Pulling from {path}", "id": name.tag or name.digest or "latest"}]
    if fresh:
        for status in ("Pulling fs layer", "Download complete", "Pull complete"):
            lines.append({"status": status, "progressDetail": {}, "id": layer})
    digest = name.digest or image.id
    lines.append({"status": f"Digest: {digest}"})
    word = "Downloaded newer image" if fresh else "Image is up to date"
    lines.append({"status": f"Status: {word} for {name.complete}"})
    daemon.images[image.id] = image
    _point(daemon, name.complete, image, digest=bool(name.digest))
    daemon.digests[f"{name.repository}@{digest}"] = image.id
    daemon.emit("image", "pull", name.complete, {"name": name.repository})
    return lines


def _users(daemon: Daemon, image: Image) -> list[Container]:
    return [container for container in daemon.containers.values() if container.image_id == image.id]


def remove(daemon: Daemon, reference: str, *, force: bool) -> list[Tree]:
    image = daemon.image(reference)
    if image is None:
        raise NotFound(f"No such image: {_complete(daemon, reference)}")
    tags, digests = _references(daemon, image)
    users = _users(daemon, image)
    done: list[Tree] = []
    bare = reference.removeprefix("sha256:")
    if not image.id[7:].startswith(bare):
        name = parse(reference, daemon.flavour)
        if len(tags) == 1 and users and not force:
            raise Conflict(
                f'conflict: unable to remove repository reference "{reference}" (must force) - '
                f"container {users[0].id[:12]} is using its referenced image {image.id[7:19]}"
            )
        _untag(daemon, image, name.complete, done)
        if any(tag != name.complete for tag in tags):
            return done
        if users:
            return done
    else:
        _refuse_by_id(image, tags, users, force=force)
    for reference_left in (*tags, *digests):
        _untag(daemon, image, reference_left, done)
    del daemon.images[image.id]
    daemon.emit("image", "delete", image.id, {"name": image.id})
    done.append({"Deleted": image.id})
    return done + [{"Deleted": layer} for layer in image.layers]


def _refuse_by_id(image: Image, tags: list[str], users: list[Container], *, force: bool) -> None:
    short = image.id[7:19]
    for container in users:
        if container.running:
            raise Conflict(
                f"conflict: unable to delete {short} (cannot be forced) - "
                f"image is being used by running container {container.id[:12]}"
            )
    if force:
        return
    if len({name.rpartition(":")[0] for name in tags}) > 1:
        raise Conflict(
            f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    if users:
        raise Conflict(
            f"conflict: unable to delete {short} (must be forced) - "
            f"image is being used by stopped container {users[0].id[:12]}"
        )


def _untag(daemon: Daemon, image: Image, reference: str, done: list[Tree]) -> None:
    if daemon.tags.pop(reference, None) is None and daemon.digests.pop(reference, None) is None:
        return
    _spoil(daemon)
    daemon.emit("image", "untag", image.id, {"name": image.id})
    done.append({"Untagged": reference})


# ---------------------------------------------------------------- save and load


def save(daemon: Daemon, references: Iterable[str]) -> bytes:
    """A `docker load` archive."""
    manifest: list[Tree] = []
    files: dict[str, bytes] = {}
    for reference in references:
        image = daemon.image(reference)
        if image is None:
            raise NotFound(f"No such image: {reference}")
        tags = [] if image.id[7:].startswith(reference.removeprefix("sha256:")) else [_complete(daemon, reference)]
        layers = [f"{layer[7:]}/layer.tar" for layer in image.layers]
        files[f"{image.id[7:]}.json"] = image.document
        files |= dict.fromkeys(layers, b"\0" * 1024)
        manifest.append({"Config": f"{image.id[7:]}.json", "RepoTags": tags or None, "Layers": layers})
        daemon.emit("image", "save", image.id, {"name": image.id})
    files["manifest.json"] = msgspec.json.encode(manifest)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def load(daemon: Daemon, archive: bytes) -> list[Tree]:
    """The progress lines; junk is an error line under status 200."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            members = {item.name: opened.extractfile(item) for item in opened if item.isfile()}
            read = {name: handle.read() for name, handle in members.items() if handle and name.endswith(".json")}
        manifest = msgspec.json.decode(read["manifest.json"], type=list[dict[str, Any]])
        loaded = [(item, _from_document(read[item["Config"]])) for item in manifest]
    except (tarfile.TarError, KeyError, msgspec.MsgspecError):
        message = "archive/tar: invalid tar header" if archive else "unexpected EOF"
        return [{"errorDetail": {"message": message}, "error": message}]
    lines: list[Tree] = []
    for item, image in loaded:
        daemon.images.setdefault(image.id, image)
        for name in item.get("RepoTags") or ():
            _point(daemon, parse(name, daemon.flavour).tagged, image)
            lines.append({"stream": f"Loaded image: {name}\n"})
        if not item.get("RepoTags"):
            lines.append({"stream": f"Loaded image ID: {image.id}\n"})
        daemon.emit("image", "load", image.id, {"name": image.id})
    return lines
