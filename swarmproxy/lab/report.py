"""What a lab tells people: its state in lines, and what to type next."""

from __future__ import annotations

from swarmproxy.lab import etcd
from swarmproxy.lab.command import fetch_json
from swarmproxy.lab.lab import Lab
from swarmproxy.lab.node import Node
from swarmproxy.lab.processes import pids
from swarmproxy.lab.proxies import Proxy, nodes_in

TRY_CLUSTER = (
    "try:  docker info",
    "      docker run -d --name web -p 8080:80 nginx:alpine",
    "      docker ps --format '{{.Names}} {{.Image}} {{.Ports}}'",
)


def status_lines(lab: Lab) -> list[str]:
    lines = [f"lab {lab.name}, {lab.plan.subnet}, {lab.folder}"]
    lines += [_node_line(node) for node in lab.nodes]
    version = etcd.version(lab.plan)
    lines.append(f"etcd     {lab.etcd_url:<28} {version or 'no answer'}")
    lines += [_proxy_line(proxy) for proxy in lab.proxies if proxy.pids()]
    return lines


def _node_line(node: Node) -> str:
    init = node.init
    if init is None:
        return f"{node.name:<8} {node.url:<28} off"
    info = fetch_json(f"{node.http_url}/info")
    agent = "agent" if pids(node.unit, "agent") else "no agent"
    if not isinstance(info, dict):
        return f"{node.name:<8} {node.url:<28} no answer  {agent}  init {init}"
    version, running = info.get("ServerVersion"), info.get("ContainersRunning")
    return f"{node.name:<8} {node.url:<28} {version} ({node.flavour})  {running} running  {agent}  init {init}"


def _proxy_line(proxy: Proxy) -> str:
    info = proxy.info()
    return f"{proxy.name:<8} {proxy.url:<28} " + (f"{nodes_in(info)} nodes" if info is not None else "no answer")


def export_lines(lab: Lab) -> list[str]:
    """To be pasted, or eval'ed."""
    env = lab.client_env() if any(proxy.pids() for proxy in lab.proxies) else lab.node_env(1)
    return [f"export {key}={value}" for key, value in env.items()]


def try_lines(lab: Lab) -> list[str]:
    if not any(proxy.pids() for proxy in lab.proxies):
        return ["try:  docker run --rm busybox hostname  (one engine; there is no proxy)"]
    return list(TRY_CLUSTER)
