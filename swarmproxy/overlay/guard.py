"""Keeps containers from injecting frames: VXLAN is trusted by its source address only.

A container can send hand-made VXLAN to a node's address; the host's own masquerading makes it look like a member's
(shown: the frame arrived in another network's container). So on every member VXLAN to a member is not *forwarded*
unless it came in by the underlay, and VXLAN to this host is taken from the underlay only. The table is ours alone; it
stays when the agent stops, as the devices do, and goes when the node leaves. Without nft the overlay works unguarded,
and the log says so once.
Not covered: hosts outside the cluster that can reach the underlay; that needs encryption.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import shutil
import subprocess
from collections.abc import Iterable

__all__ = ["Guard", "ruleset"]

log = logging.getLogger(__name__)

TABLE = "swarmproxy"
_DEADLINE = 5.0


def ruleset(vteps: Iterable[str], *, interface: str, port: int) -> str:
    """The whole table for `nft -f`: one transaction that replaces a former one."""
    addresses = sorted({str(ipaddress.ip_address(vtep)) for vtep in vteps if vtep})
    four = ", ".join(ip for ip in addresses if ":" not in ip)
    six = ", ".join(ip for ip in addresses if ":" in ip)
    quoted = interface.replace('"', "")
    lines = [
        f"table inet {TABLE} {{}}",
        f"delete table inet {TABLE}",
        f"table inet {TABLE} {{",
        f"  set vteps {{ type ipv4_addr; {f'elements = {{ {four} }};' if four else ''} }}",
        f"  set vteps6 {{ type ipv6_addr; {f'elements = {{ {six} }};' if six else ''} }}",
        "  chain guard_forward {",
        "    type filter hook forward priority -10; policy accept;",
        f'    iifname != "{quoted}" udp dport {port} ip daddr @vteps counter drop',
        f'    iifname != "{quoted}" udp dport {port} ip6 daddr @vteps6 counter drop',
        "  }",
        "  chain guard_input {",
        "    type filter hook input priority -10; policy accept;",
        f'    iifname != {{ "{quoted}", "lo" }} udp dport {port} counter drop',
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


class Guard:
    """Applies the rules whenever the members' addresses change; the newest set wins."""

    def __init__(self, *, interface: str, port: int) -> None:
        self._interface = interface
        self._port = port
        self._applied: str = ""
        self._wanted: str = ""
        self._task: asyncio.Task[None] | None = None
        self._missing = False

    def members(self, vteps: Iterable[str]) -> None:
        """Sets whom to protect; returns at once."""
        self._wanted = ruleset(vteps, interface=self._interface, port=self._port)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._apply())

    async def _apply(self) -> None:
        while self._wanted != self._applied and not self._missing:
            rules = self._wanted
            problem = await nft(rules)
            if problem is None:
                self._missing = True
                log.warning("nft is not installed: overlays are not guarded against injected VXLAN")
            elif problem:
                log.error("the guard against injected VXLAN was refused: %s", problem)
                return
            self._applied = rules

    async def close(self) -> None:
        """Stops applying; the rules stay."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def remove(self) -> None:
        """Takes the table away, once what is being applied is in: it would bring the table back."""
        if self._task is not None:
            await asyncio.wait((self._task,))
        await nft(f"table inet {TABLE} {{}}\ndelete table inet {TABLE}\n")


async def nft(rules: str) -> str | None:
    """Runs `nft -f -`: "" when all was applied, what nft says when not, None when there is no nft.

    In a thread and by subprocess, which uses vfork: a fork would run gRPC's handlers.
    """
    path = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    return await asyncio.to_thread(_run, path, rules) if path is not None else None


def _run(path: str, rules: str) -> str:
    try:
        done = subprocess.run(
            [path, "-f", "-"], input=rules, capture_output=True, text=True, timeout=_DEADLINE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {_DEADLINE:g} s"
    return done.stderr.strip() if done.returncode else ""
