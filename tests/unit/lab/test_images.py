"""The lab's images: one ID on every engine, on every run."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Any

from swarmproxy.lab.images import build_archive, build_layer

LAYER = build_layer(b"program", ["ls", "sh", "busybox"])
ARCHIVE, IDS = build_archive(LAYER, "amd64")


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = ((entry.name, tar.extractfile(entry)) for entry in tar if entry.isfile())
        return {name: file.read() for name, file in found if file is not None}


def test_same_bytes_from_the_same_program() -> None:
    assert build_layer(b"program", ["sh", "busybox", "ls"]) == LAYER
    assert build_archive(LAYER, "amd64") == (ARCHIVE, IDS)


def test_another_program_is_another_image() -> None:
    _, ids = build_archive(build_layer(b"other", ["ls", "sh"]), "amd64")
    assert not set(ids.values()) & set(IDS.values())


def test_tags() -> None:
    assert set(IDS) == {"busybox:latest", "alpine:latest", "nginx:alpine", "nginx:latest"}
    assert IDS["busybox:latest"] == IDS["alpine:latest"] != IDS["nginx:alpine"] == IDS["nginx:latest"]


def test_archive_is_what_an_engine_loads() -> None:
    files = members(ARCHIVE)
    manifest: list[dict[str, Any]] = json.loads(files["manifest.json"])
    for image in manifest:
        config = files[image["Config"]]
        assert {IDS[tag] for tag in image["RepoTags"]} == {f"sha256:{hashlib.sha256(config).hexdigest()}"}
        layers = [f"sha256:{hashlib.sha256(files[layer]).hexdigest()}" for layer in image["Layers"]]
        assert json.loads(config)["rootfs"]["diff_ids"] == layers


def test_layer_belongs_to_root_and_to_no_time() -> None:
    with tarfile.open(fileobj=io.BytesIO(LAYER)) as tar:
        entries = {entry.name: entry for entry in tar}
    assert {(entry.uid, entry.gid, entry.mtime) for entry in entries.values()} == {(0, 0, 0)}
    assert entries["bin/ls"].linkname == "busybox"
    assert entries["bin/busybox"].isfile()
    assert entries["tmp"].mode == 0o1777
