"""An image for another operating system or processor cannot run.

Only where a platform was asked for. An engine that runs foreign binaries (qemu and binfmt) says so with its label
`platforms=linux/arm64,linux/386`: nothing in its API does.
"""

from __future__ import annotations

from functools import lru_cache

from swarmproxy.model.snapshot import NodeSnapshot
from swarmproxy.scheduler.reason import Reason
from swarmproxy.scheduler.request import Request

OTHER = "is {here}, {asked} is asked for"
EMULATED = "platforms"

_ALIASES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "arm64/v8": "arm64",
    "armhf": "arm/v7",
    "armv7l": "arm/v7",
    "armv6l": "arm/v6",
    "armel": "arm/v6",
    "i386": "386",
    "i486": "386",
    "i586": "386",
    "i686": "386",
}


def check(request: Request, node: NodeSnapshot) -> Reason | None:
    if not request.platform:
        return None
    here = f"{node.os_type}/{node.architecture}" if node.architecture else node.os_type
    if _runs(here, request.platform):
        return None
    emulated = node.labels.get(EMULATED, "")
    if emulated and any(_runs(each, request.platform) for each in emulated.replace(",", " ").split()):
        return None
    return Reason(OTHER, here="/".join(filter(None, _parts(here))), asked=request.platform)


def conditions(request: Request) -> tuple[str, ...]:
    return (f"platform {request.platform}",) if request.platform else ()


def _runs(here: str, asked: str) -> bool:
    os, machine = _parts(here)
    asked_os, asked_machine = _parts(asked)
    if asked_os and os != asked_os:
        return False
    if not asked_machine or not machine or machine == asked_machine:
        return True
    # A newer ARM runs what was built for an older one; "arm" alone leaves the variant open.
    return machine.startswith("arm/") and (
        asked_machine == "arm" or (asked_machine.startswith("arm/") and machine > asked_machine)
    )


@lru_cache(maxsize=256)
def _parts(platform: str) -> tuple[str, str]:
    """Operating system ("" = any: docker takes a lone "arm64", too) and the Go name of the processor."""
    platform = platform.lower()
    os, slash, machine = platform.partition("/")
    if not slash and (os in _ALIASES or os in _ALIASES.values() or os == "arm"):
        os, machine = "", os
    if machine.startswith("amd64/"):
        machine = "amd64"
    return os, _ALIASES.get(machine, machine)
