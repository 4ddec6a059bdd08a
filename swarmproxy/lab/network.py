"""The lab's wires: one bridge in a namespace of its own, a veth to each machine, one link on the host.

The switch is not on the host: so the host's firewall never sees a frame between two nodes, and the host's own rules
are the same with the lab up as without. There is no way out of the lab and no default route in a node: an address
outside fails at once instead of timing out.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path

from swarmproxy.lab.command import LabError, run, succeeds
from swarmproxy.lab.plan import ETCD_OCTET, Plan, Target, mac
from swarmproxy.lab.processes import NETNS

_UPLINK = "host"  # the host's end inside the switch


def check_free(plan: Plan) -> None:
    """Refuse a subnet this machine already uses elsewhere."""
    for link in json.loads(run(["ip", "-json", "addr"]).stdout or "[]"):
        if link.get("ifname") == plan.host_link:
            continue
        for entry in link.get("addr_info", ()):
            if entry.get("family") == "inet" and IPv4Address(entry["local"]) in plan.subnet:
                raise LabError(f"{plan.subnet} is in use on {link['ifname']}: choose another with --subnet")


def raise_switch(plan: Plan) -> None:
    """The bridge, and the host's link to it; what is there and whole stays."""
    if not NETNS.is_dir():  # made by `ip netns add`, and then to be taken away again
        (plan.base / "made-run-netns").touch()
    switch = plan.switch
    if not _has(switch, "br0"):
        drop_namespace(switch)
        run(["ip", "netns", "add", switch])
        run(["ip", "-n", switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0"])
        run(["ip", "-n", switch, "link", "set", "br0", "up"])
        # Frames between nodes must not visit iptables either, where the bridge would call it.
        quiet = "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ -e $f ] && echo 0 >$f; done; :"
        run(["nsenter", f"--net={NETNS / switch}", "sh", "-c", quiet], check=False)
    if not succeeds("ip", "link", "show", plan.host_link) or not _has(switch, _UPLINK):
        run(["ip", "link", "del", plan.host_link], check=False)
        run(["ip", "link", "add", plan.host_link, "type", "veth", "peer", "name", _UPLINK, "netns", switch])
        run(["ip", "addr", "add", f"{plan.host_address}/24", "dev", plan.host_link])
        run(["ip", "link", "set", plan.host_link, "up"])
        run(["ip", "-n", switch, "link", "set", _UPLINK, "master", "br0", "up"])


def address_of(plan: Plan, target: Target) -> str:
    return plan.address(target.number or ETCD_OCTET)


def plugged(plan: Plan, target: Target) -> bool:
    return _has(plan.switch, target.unit) and (NETNS / plan.unit(target)).exists()


def plug_in(plan: Plan, target: Target) -> None:
    """A fresh network namespace for the target, its eth0 plugged into the switch."""
    unit, port, address, switch = plan.unit(target), target.unit, address_of(plan, target), plan.switch
    drop_namespace(unit)
    run(["ip", "-n", switch, "link", "del", port], check=False)
    run(["ip", "netns", "add", unit])
    near = ["name", "eth0", "netns", unit, "address", mac(address)]
    run(["ip", "link", "add", *near, "type", "veth", "peer", "name", port, "netns", switch])
    run(["ip", "-n", switch, "link", "set", port, "master", "br0", "up"])
    run(["ip", "-n", unit, "addr", "add", f"{address}/24", "dev", "eth0"])
    run(["ip", "-n", unit, "link", "set", "lo", "up"])
    run(["ip", "-n", unit, "link", "set", "eth0", "up"])


def set_link(plan: Plan, target: Target, *, up: bool) -> None:
    """Pull or push the cable at the switch. Pulled, the target is silent: time-outs, not refusals."""
    run(["ip", "-n", plan.switch, "link", "set", target.unit, "up" if up else "down"])


def partition(plan: Plan, one: Target, other: Target) -> None:
    """Let no frame pass between two machines, either way; everybody else still reaches both."""
    _nft(plan, "add table bridge lab; add chain bridge lab cut { type filter hook forward priority 0 ; }")
    for source, sink in ((one, other), (other, one)):
        _nft(plan, f'add rule bridge lab cut iifname "{source.unit}" oifname "{sink.unit}" drop')


def heal(plan: Plan) -> None:
    """Undo every partition and push every cable in again."""
    run(["nsenter", f"--net={NETNS / plan.switch}", "nft", "delete", "table", "bridge", "lab"], check=False)
    for link in json.loads(run(["ip", "-n", plan.switch, "-json", "link"]).stdout or "[]"):
        if link.get("ifname") != "lo":
            run(["ip", "-n", plan.switch, "link", "set", link["ifname"], "up"])


def _nft(plan: Plan, rules: str) -> None:
    run(["nsenter", f"--net={NETNS / plan.switch}", "nft", rules])


def _has(namespace: str, link: str) -> bool:
    return succeeds("ip", "-n", namespace, "link", "show", link)


def namespaces_of(prefix: str) -> set[str]:
    try:
        return {entry.name for entry in NETNS.iterdir() if entry.name.startswith(prefix)}
    except OSError:
        return set()


def drop_namespace(name: str) -> None:
    """Also the leftovers of one: an unmounted plain file, or a mount whose file is gone."""
    run(["ip", "netns", "del", name], check=False)
    file = NETNS / name
    if file.exists():
        run(["umount", "-l", str(file)], check=False)
        file.unlink(missing_ok=True)


def drop_host_link(plan: Plan) -> None:
    run(["ip", "link", "del", plan.host_link], check=False)


def drop_netns_folder(base: Path) -> None:
    """Take /run/netns away if a lab made it and nobody uses it."""
    mark = base / "made-run-netns"
    if mark.exists() and not namespaces_of(""):
        run(["umount", str(NETNS)], check=False)  # `ip netns add` mounts it on itself
        try:
            NETNS.rmdir()
        except OSError:
            pass
        mark.unlink(missing_ok=True)
