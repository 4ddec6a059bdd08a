"""The lab's images: made here, byte for byte the same each time, so one image has one ID on every engine.

An image's ID is the digest of its configuration, which names the digest of its layer: fixed order, owners and times
make both a function of the busybox binary alone. No registry is needed, and none could be reached from a node.
`busybox:latest` is also `alpine:latest`; `nginx:alpine` and `nginx:latest` are busybox' httpd under a shell that
leaves at once when asked to.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmproxy.lab.command import LabError, fetch_json, run, upload
from swarmproxy.lab.packages import busybox

CREATED = "2024-01-01T00:00:00Z"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64"}
_FOLDERS = ("bin dev etc home proc root run sys tmp usr usr/bin usr/share usr/share/nginx usr/share/nginx/html "
            "var var/www").split()  # fmt: skip
_SERVE = 'trap "exit 0" TERM QUIT INT; httpd -f -p 80 -h /usr/share/nginx/html & wait'
_WELCOME = b"<h1>Welcome to nginx!</h1>\n"
_TAGS: Mapping[str, tuple[str, ...]] = {
    "busybox": ("busybox:latest", "alpine:latest"),
    "nginx": ("nginx:alpine", "nginx:latest"),
}
_CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "busybox": {"Cmd": ["sh"]},
    "nginx": {"Cmd": ["sh", "-c", _SERVE], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT"},
}


@dataclass(frozen=True, slots=True)
class Images:
    """An archive for `docker load`, and what an engine that has loaded it must answer."""

    archive: Path
    ids: Mapping[str, str]  # tag: image ID


def prepare(cache: Path) -> Images:
    """The archive, made once."""
    archive, ids = cache / "images.tar", cache / "images.json"
    if not (archive.exists() and ids.exists()):
        program = busybox()
        if program is None:
            raise LabError("no static busybox")
        applets = run([str(program), "--list"]).stdout.split()
        layer = build_layer(program.read_bytes(), applets)
        content, known = build_archive(layer, _ARCHITECTURES.get(platform.machine(), platform.machine()))
        archive.write_bytes(content)
        ids.write_text(json.dumps(known))
    return Images(archive, json.loads(ids.read_text()))


def load(engine_url: str, images: Images) -> None:
    """See to it that the engine has every tag, with the one ID."""
    for tag, wanted in images.ids.items():
        seen = fetch_json(f"{engine_url}/images/{tag}/json", timeout=10)
        if not isinstance(seen, dict) or seen.get("Id") != wanted:
            upload(f"{engine_url}/images/load?quiet=1", images.archive)
            return


def build_layer(program: bytes, applets: Sequence[str]) -> bytes:
    """The one layer: busybox, a link for each applet, and what programs expect of a root file system."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in _FOLDERS:
            _add(tar, folder, mode=0o1777 if folder == "tmp" else 0o755, kind=tarfile.DIRTYPE)
        _add(tar, "bin/busybox", program, mode=0o755)
        for applet in sorted(set(applets) - {"busybox"}):
            _add(tar, f"bin/{applet}", link="busybox", kind=tarfile.SYMTYPE)
        _add(tar, "usr/bin/env", link="/bin/env", kind=tarfile.SYMTYPE)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        _add(tar, "etc/group", b"root:x:0:\n")
        _add(tar, "usr/share/nginx/html/index.html", _WELCOME)
    return out.getvalue()


def build_archive(layer: bytes, architecture: str) -> tuple[bytes, dict[str, str]]:
    """The whole `docker load` archive, and each tag's image ID."""
    diff = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    members: list[tuple[str, bytes]] = []
    manifest, ids = [], {}
    for image, tags in _TAGS.items():
        config = _config(_CONFIGS[image], diff, architecture)
        members.append((f"{image}.json", config))
        manifest.append({"Config": f"{image}.json", "RepoTags": tags, "Layers": ["layer.tar"]})
        ids.update(dict.fromkeys(tags, f"sha256:{hashlib.sha256(config).hexdigest()}"))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in (("manifest.json", json.dumps(manifest).encode()), *members, ("layer.tar", layer)):
            _add(tar, name, content)
    return out.getvalue(), ids


def _config(config: Mapping[str, Any], diff: str, architecture: str) -> bytes:
    whole = {
        "architecture": architecture,
        "os": "linux",
        "created": CREATED,
        "config": {"Env": [PATH], **config},
        "rootfs": {"type": "layers", "diff_ids": [diff]},
        "history": [{"created": CREATED, "created_by": "swarmproxy lab"}],
    }
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()


def _add(
    tar: tarfile.TarFile,
    name: str,
    content: bytes = b"",
    *,
    mode: int = 0o644,
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
) -> None:
    entry = tarfile.TarInfo(name)  # owner root and time 0 unless told otherwise
    entry.size, entry.mode, entry.type, entry.linkname = len(content), mode, kind, link
    tar.addfile(entry, io.BytesIO(content) if content else None)
