"""Engines and tools from the machine's own package mirror.

Installed by apt: what nodes run in common (docker.io, etcd, runc, nftables, a static busybox …), with a guard that
keeps dpkg from starting services: a dockerd in the host's namespace would rewrite its firewall. The other engine
version and Compose come from the neighbouring Debian release and are only unpacked, into the cache: own package
lists, signatures verified by the installed keyring, nothing installed, nothing of the machine's apt set-up touched.
Why an engine of the neighbour works at all: Docker's programs need little of the system; its runc needs a newer libc,
so every engine runs the installed one. Installed packages stay when the lab goes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from swarmproxy.lab.command import LabError, run, say

# program: package
_TOOLS = {
    "dockerd": "docker.io",
    "containerd": "containerd",
    "runc": "runc",
    "etcd": "etcd-server",
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "tini": "tini",
}
_APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "APT::Sandbox::User=root")
_GUARD = Path("/usr/sbin/policy-rc.d")
_GUARD_TEXT = "#!/bin/sh\n# There while swarmproxy lab installs packages: none of them starts its service.\nexit 101\n"
_PLUGINS = ("usr/libexec/docker/cli-plugins", "usr/lib/docker/cli-plugins")
_DEBIAN_NEIGHBOUR = {"bookworm": "trixie", "trixie": "bookworm"}
# Debian's first release with Compose as a command line plugin; its programs run on bookworm too.
_COMPOSE_SUITE = "trixie"
_ENGINE_PACKAGES = ("docker.io", "containerd")


@dataclass(frozen=True, slots=True)
class Engine:
    """One kind of engine: its suite for people, and what goes before PATH for its programs."""

    suite: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Packages:
    """What the lab runs: the usual engine, the one of every third node, and the command line plugins."""

    older: Engine
    newer: Engine
    plugins: tuple[Path, ...]


def _environment() -> dict[str, str]:
    return {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}


def _apt(*argv: str, options: Sequence[str] = (), seconds: float = 900) -> None:
    run([*_APT, *options, *argv], timeout=seconds, env=_environment())


def which(program: str) -> str | None:
    """Also outside a user's PATH, where Debian keeps daemons."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")


def missing() -> list[str]:
    """Packages that have to be installed for a lab to run."""
    wanted = [package for program, package in _TOOLS.items() if which(program) is None]
    if busybox() is None:
        wanted.append("busybox-static")
    return wanted


def busybox() -> Path | None:
    """A busybox without shared libraries: it is all there is in the lab's images."""
    found = which("busybox")
    if found is None or run(["ldd", found], check=False).returncode == 0:
        return None
    return Path(found)


@contextmanager
def no_services() -> Iterator[None]:
    """While packages are installed, none of them may start its service."""
    if not _GUARD.exists():
        _GUARD.write_text(_GUARD_TEXT)
        _GUARD.chmod(0o755)
    try:
        yield
    finally:
        drop_guard()


def drop_guard() -> None:
    """Ours only, known by its words: also one that a killed run left."""
    try:
        if _GUARD.read_text() == _GUARD_TEXT:
            _GUARD.unlink()
    except OSError:
        pass


def install(packages: Sequence[str]) -> None:
    """
    Raises:
        LabError: no apt here, or no mirror, or no such package.
    """
    if which("apt-get") is None:
        raise LabError(f"this machine has no apt; needed: {' '.join(packages)}")
    say(f"apt: {' '.join(packages)}")
    with no_services():
        run(["dpkg", "--configure", "-a"], timeout=300, env=_environment())  # what a killed run left half done
        _apt("update")
        _apt("install", "-y", "--no-install-recommends", *packages)
    _settle()


def _settle() -> None:
    """What was just written reaches the disk now: later, every fsync of engines and etcd would wait behind it."""
    with suppress(LabError):
        run(["sync"], timeout=120, check=False)


def provide(cache: Path) -> Packages:
    """Install what is missing, fetch what lies beside the system; afterwards both are cached.

    Raises:
        LabError: something without which there is no lab cannot be had.
    """
    if wanted := missing():
        install(wanted)
    if which("docker") is None:  # split off docker.io in Debian 13
        install(["docker-cli"])
    release = _release()
    own = Engine(release.get("VERSION_CODENAME", "this system's"))
    neighbour = _neighbour_engine(release, cache)
    pair = (own, own) if neighbour is None else (own, neighbour) if own.suite == "bookworm" else (neighbour, own)
    return Packages(*pair, plugins=_plugins(release, cache))


def _release() -> dict[str, str]:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return {}
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def _neighbour_engine(release: dict[str, str], cache: Path) -> Engine | None:
    suite = _DEBIAN_NEIGHBOUR.get(release.get("VERSION_CODENAME", "")) if release.get("ID") == "debian" else None
    if suite is None:
        say("all nodes run one engine version: only Debian 12 and 13 have a neighbouring release to take another from")
        return None
    try:
        root = _unpack(cache, suite, (*_ENGINE_PACKAGES, *(("docker-compose", "docker-buildx") * (suite == "trixie"))))
    except LabError as error:
        say(f"all nodes run one engine version: {suite}'s cannot be had ({error})")
        return None
    return Engine(suite, (str(root / "usr/sbin"), str(root / "usr/bin")))


def _plugins(release: dict[str, str], cache: Path) -> tuple[Path, ...]:
    """docker-compose and docker-buildx for `docker compose` and `docker buildx`; empty if they cannot be had."""
    debian = release.get("ID") == "debian"
    try:
        if debian and release.get("VERSION_CODENAME") != _COMPOSE_SUITE:
            root = _unpack(cache, _COMPOSE_SUITE, (*_ENGINE_PACKAGES, "docker-compose", "docker-buildx"))
        elif debian:
            root = _unpack(cache, None, ("docker-compose", "docker-buildx"))
        else:  # Ubuntu's names
            root = _unpack(cache, None, ("docker-compose-v2", "docker-buildx"))
    except LabError as error:
        say(f"no Compose of the lab's own: {error}")
        return ()
    return tuple(found for folder in _PLUGINS for found in sorted((root / folder).glob("docker-*")))


def _unpack(cache: Path, suite: str | None, packages: Sequence[str]) -> Path:
    """Packages of another suite (None: this machine's own), unpacked below the cache; done once."""
    top = cache / (suite or "own")
    root, done = top / "root", top / "complete"
    if done.exists() and set(packages) <= set(done.read_text().split()):
        return root
    shutil.rmtree(top, ignore_errors=True)
    for folder in ("lists/partial", "deb", "root"):
        (top / folder).mkdir(parents=True)
    options: list[str] = []
    if suite is not None:
        say(f"fetching {' '.join(packages)} of Debian {suite}, about 100 MB")
        sources = top / "sources.list"
        sources.write_text(f"deb {_mirror()} {suite} main\n")
        options += ["-o", f"Dir::State::Lists={top / 'lists'}", "-o", f"Dir::Etc::SourceList={sources}"]
        options += ["-o", "Dir::Etc::SourceParts=/dev/null"]
        _apt("update", options=options)
    run(["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(top / "deb"), *_APT, *options, "download", *packages],
        timeout=900, env=_environment())  # fmt: skip
    for package in sorted((top / "deb").glob("*.deb")):
        run(["dpkg", "-x", str(package), str(root)], timeout=120)
    for leftover in ("lists", "deb", "root/usr/share", "root/etc"):
        shutil.rmtree(top / leftover, ignore_errors=True)
    _settle()
    done.write_text(" ".join(packages))
    return root


def _mirror() -> str:
    """The mirror the machine itself uses, proxies and all."""
    fields = "$(CREATED_BY)|$(ORIGIN)|$(LABEL)|$(RELEASE)|$(REPO_URI)"
    uri = mirror_in(run(["apt-get", "indextargets", "--format", fields], env=_environment()).stdout)
    if uri is None:
        raise LabError("no Debian mirror among the machine's package sources")
    return uri


def mirror_in(listed: str) -> str | None:
    """Debian's main archive among apt's index targets; by its address where apt has not fetched any index yet."""
    by_address = None
    for line in listed.splitlines():
        kind, origin, label, release, uri = (line.split("|") + [""] * 5)[:5]
        if kind != "Packages" or "-" in release or "/" in release:
            continue
        if origin == label == "Debian":
            return uri
        if by_address is None and uri.rstrip("/").endswith("/debian"):
            by_address = uri
    return by_address
