"""What a node is told on its way up."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

from swarmproxy.lab.node import boot_script, hosts_file
from swarmproxy.lab.plan import Plan, Sight
from swarmproxy.lab.proxies import nodes_in


def test_boot_hides_first_and_puts_back_after() -> None:
    seen = Sight(hide=(Path("/root"), Path("/tmp")), keep=(Path("/root/my venv"),))
    script = boot_script("node-2", Path("/lab/n2"), seen)
    saved = script.index("mount --rbind '/root/my venv' /run/.keep/0")
    hidden = script.index("lab-hidden /root")
    back = script.index("mount --move /run/.keep/0 '/root/my venv'")
    assert script.index("lab-run /run") < saved < hidden < back
    assert "mode=1777 lab-hidden /tmp" in script
    assert script.endswith("exec tini -s -- sleep infinity")


def test_nodes_know_each_other_and_etcd_by_name() -> None:
    lines = hosts_file(Plan(subnet=IPv4Network("10.9.8.0/24"))).splitlines()
    assert "10.9.8.250 etcd" in lines
    assert "10.9.8.3 node-3" in lines


def test_nodes_in_info() -> None:
    status = [["Role", "primary"], ["Nodes", "3"], [" node-1", "10.0.0.1:2375"], ["  └ Status", "Healthy"]]
    assert nodes_in({"SystemStatus": status}) == 3
    assert nodes_in({"DriverStatus": [*status, ["  └ Status", "Unreachable"]]}) == 2
    assert nodes_in({"SystemStatus": None, "DriverStatus": [["Backing Filesystem", "extfs"]]}) == 0
    assert nodes_in(None) == 0
