"""What is measured on: a cluster of three real engines, and beside it bare engines of the same two versions.

Two labs. `swpb` is the cluster: three engines with agents, etcd, two proxies. `swpbare` are engines that no proxy and
no agent knows; they are what "direct" means. Both are filled with containers of the same shape. A client's socket is
born in the namespace of the lab's etcd host, so each request crosses one veth pair and the lab's bridge, whether it
goes to an engine or to a proxy on the host.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.client import Client
from swarmproxy.lab import Lab, Node
from swarmproxy.lab.plan import ENGINE_PORT, Target
from swarmproxy.lab.processes import NETNS

IMAGE = "busybox:latest"
FILL = "fill-"
RUNNING = 2
"""Of the containers that fill an engine, how many run, per node's share."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Something that speaks the Docker API, and from where it is asked."""

    address: str
    port: int
    netns: Path

    @property
    def url(self) -> str:
        return f"tcp://{self.address}:{self.port}"

    def client(self) -> Client:
        return Client(self.address, self.port, netns=self.netns)


@dataclass(frozen=True, slots=True)
class Match:
    """Two engines of one version: a member of the cluster and one that stands alone."""

    version: str
    node: str
    member: Peer
    bare: Peer


@dataclass(slots=True)
class Ground:
    """Both labs, up and filled with `per_node` containers an engine."""

    cluster: Lab
    bare: Lab
    per_node: int
    proxy: Peer = field(init=False)
    matches: list[Match] = field(init=False)
    """One a version; nodes 1 and 3 differ where two releases can be had."""

    def __post_init__(self) -> None:
        plan = self.cluster.plan
        self.proxy = Peer(plan.host_address, plan.ports[0], _netns(self.cluster))
        found: dict[str, Match] = {}
        for number in (1, 3):
            mine, other = self.cluster.node(number), self.bare.node(number)
            match = Match(short(mine), mine.name, engine(self.cluster, mine), engine(self.bare, other))
            found.setdefault(match.version, match)
        self.matches = list(found.values())

    @property
    def count(self) -> int:
        """Containers in the whole cluster."""
        return self.per_node * len(self.cluster.nodes)

    def fill_cluster(self) -> None:
        with self.proxy.client() as client:
            for node in self.cluster.nodes:
                fill(client, self.per_node, RUNNING, node=node.name)

    def fill_bare(self, count: int, running: int) -> None:
        """Up to `count` containers on each bare engine."""
        for match in self.matches:
            with match.bare.client() as client:
                fill(client, count, running)

    def env(self, peer: Peer) -> dict[str, str]:
        """For a Docker client in a process of its own; to be run by `command`."""
        return {"DOCKER_CONFIG": str(self.cluster.client_folder), "DOCKER_HOST": peer.url}


def command(peer: Peer, *argv: str) -> list[str]:
    """A command line that runs where the peer's other clients are."""
    return ["nsenter", f"--net={peer.netns}", "--", *argv]


def _netns(lab: Lab) -> Path:
    return NETNS / lab.plan.unit(Target("etcd"))


def engine(lab: Lab, node: Node) -> Peer:
    return Peer(node.address, ENGINE_PORT, _netns(lab))


def short(node: Node) -> str:
    """The engine's version, without the distribution's suffix."""
    return (node.version() or "?").partition("+")[0]


@contextmanager
def prepared(*, per_node: int, keep: bool) -> Iterator[Ground]:
    """Both labs up, the proxies listening on the lab's wire too, the cluster filled; down at the end unless `keep`."""
    cluster, bare = Lab(name="swpb"), Lab(name="swpbare", cluster=False)
    with ExitStack() as stack:
        for lab in (cluster, bare):
            if not keep:
                stack.callback(lab.down)
            lab.up()
        for number, port in enumerate(cluster.plan.ports, 1):
            cluster.kill_proxy(number)
            cluster.start_proxy(number, "-H", f"tcp://{cluster.plan.host_address}:{port}")
            cluster.proxies[number - 1].await_nodes(len(cluster.nodes))
        ground = Ground(cluster, bare, per_node)
        for peer in (ground.proxy, *(match.bare for match in ground.matches)):
            sweep(peer)
        ground.fill_cluster()
        ground.fill_bare(per_node, RUNNING)
        yield ground


def sweep(peer: Peer) -> None:
    """Removes all containers and networks of former runs; they are ours, the labs exist for this alone."""
    with peer.client() as client:
        for container in listed(client):
            client.must("DELETE", f"/containers/{container['Id']}?force=1&v=1", status=(204, 404, 409))
        for network in decoded(client.must("GET", "/networks", status=(200,))):
            if network["Name"] not in ("bridge", "host", "none"):
                client.must("DELETE", f"/networks/{network['Id']}", status=(204, 404))


def decoded(answer: bytes) -> Any:
    """JSON of a body whose chunk frames may still be in it."""
    if answer[:1] in b"[{":
        return json.loads(answer)
    whole, at = b"", 0
    while True:
        end = answer.index(b"\r\n", at)
        size = int(answer[at:end].partition(b";")[0], 16)
        if size == 0:
            return json.loads(whole)
        whole += answer[end + 2 : end + 2 + size]
        at = end + 2 + size + 2


def listed(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = decoded(client.must("GET", "/containers/json?all=1", status=(200,)))
    return found


def body(*, node: str = "", network: str = "", command: str = "sleep 86400", **more: object) -> bytes:
    """A create body as the command line sends it, as far as an engine cares."""
    wanted: dict[str, object] = {
        "Image": IMAGE,
        "Cmd": command.split(),
        "Env": [f"constraint:node=={node}"] if node else ["A=b"],
        "Labels": {"app": "bench", "com.example.tier": "backend", "com.example.release": "2026-11", "owner": "ops"},
        "HostConfig": {"NetworkMode": network or "default", **more},
    }
    if network:
        wanted["NetworkingConfig"] = {"EndpointsConfig": {network: {"Aliases": ["web"]}}}
    return json.dumps(wanted).encode()


def fill(client: Client, count: int, running: int, *, node: str = "") -> None:
    """Makes containers until there are `count` (of the node, where one is named), `running` of them running."""
    have = [one for one in listed(client) if not node or one["Labels"].get("swarmproxy.node") == node]
    for number in range(len(have), count):
        name = f"{FILL}{number}-{secrets.token_hex(3)}"
        made = client.must("POST", f"/containers/create?name={name}", body(node=node), status=(201,))
        if number < running:
            client.must("POST", f"/containers/{decoded(made)['Id']}/start", status=(204,))
