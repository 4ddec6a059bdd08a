"""A real registry beside the lab: Debian's docker-registry, unpacked into the lab's cache, on the lab's own network."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarmproxy.lab import Lab
from tests.shared_lab import request, until

PORT = 5000


def program(cache: Path) -> Path | None:
    """Downloaded once; None when there is no mirror to have it from."""
    folder = cache / "registry"
    found = folder / "root/usr/bin/docker-registry"
    if not found.exists():
        folder.mkdir(parents=True, exist_ok=True)
        fetch = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "docker-registry"]
        done = subprocess.run(fetch, cwd=folder, capture_output=True, timeout=120, check=False)
        for package in folder.glob("docker-registry_*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(folder / "root")], timeout=60, check=True)
            package.unlink()
        if done.returncode != 0 or not found.exists():
            return None
    return found


@contextmanager
def serving(lab: Lab, folder: Path, executable: Path) -> Iterator[str]:
    """An empty registry that the lab's engines reach; its `host:port`."""
    address = f"{lab.plan.host_address}:{PORT}"
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([str(executable), "serve", str(config)], stdout=log, stderr=log, env=os.environ)
    try:
        until(lambda: _answers(address), f"registry: {(folder / 'log').read_text()}")
        yield address
    finally:
        process.kill()
        process.wait()


def _answers(address: str) -> bool:
    try:
        return request("GET", f"http://{address}/v2/", timeout=2)[0] == 200
    except OSError:
        return False
