"""What the whole says of itself: _ping, version, info, and the calls that any engine can answer.

`info` costs O(nodes): containers are running sums. It keeps Swarm inactive, or Compose would change its ways, and tells
the nodes as classic Swarm did, in SystemStatus, which the docker command prints and scripts grep.
"""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from swarmproxy import __version__
from swarmproxy.api import replies
from swarmproxy.api.call import Call
from swarmproxy.api.passthrough import passthrough
from swarmproxy.cluster.node import Node
from swarmproxy.engine.version import number
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model.errors import ServerError

MINIMUM = "1.24"
BUILDKIT_SINCE = (1, 39)
NO_CACHE = {"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache"}
_ALL_HAVE = (
    "MemoryLimit SwapLimit CpuCfsPeriod CpuCfsQuota CPUShares CPUSet PidsLimit IPv4Forwarding BridgeNfIptables "
    "BridgeNfIp6tables OomKillDisable"
).split()
_COMMON = "Driver CgroupDriver CgroupVersion OSType Architecture LoggingDriver DefaultRuntime".split()


async def ping(call: Call[Cluster]) -> web.StreamResponse:
    headers = {
        **call.headers,
        **NO_CACHE,
        "Builder-Version": _builder(call.cluster),
        "Swarm": "inactive",
        "Content-Type": "text/plain; charset=utf-8",
    }
    return web.Response(body=b"" if call.method == "HEAD" else b"OK", headers=headers)


def _builder(cluster: Cluster) -> str:
    """What docker commands before 23 build with: BuildKit when every engine has it; newer ones ask for buildx alone."""
    known = [node.engine.api for node in cluster.view.nodes.values() if node.engine.api]
    return "2" if known and all(number(api) >= BUILDKIT_SINCE for api in known) else "1"


def _nodes(cluster: Cluster) -> list[Node]:
    return sorted(cluster.view.nodes.values(), key=lambda node: _natural(node.name))


def _natural(name: str) -> tuple[object, ...]:
    head = name.rstrip("0123456789")
    return (head, int(name[len(head) :] or 0), name)


def _common(values: list[Any], default: Any = "") -> Any:
    return values[0] if values and all(value == values[0] for value in values) else default


async def version(call: Call[Cluster]) -> web.StreamResponse:
    nodes = [node for node in _nodes(call.cluster) if node.version]
    machine = _common([node.version.get("Arch") for node in nodes], "amd64")
    details = {
        "ApiVersion": call.headers["Api-Version"],
        "Arch": machine,
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": "",
        "KernelVersion": _common([node.version.get("KernelVersion") for node in nodes], platform.release()),
        "MinAPIVersion": MINIMUM,
        "Os": _common([node.version.get("Os") for node in nodes], "linux"),
    }
    name = f"swarmproxy/{__version__}"
    engines = [
        {"Name": f"Engine {node.name}", "Version": str(node.version.get("Version")), "Details": {}} for node in nodes
    ]
    return replies.json(
        call,
        {
            "Platform": {"Name": "swarmproxy"},
            "Components": [{"Name": "Engine", "Version": name, "Details": details}, *engines],
            "Version": name,
            "ApiVersion": details["ApiVersion"],
            "MinAPIVersion": MINIMUM,
            "GitCommit": "",
            "GoVersion": "",
            "Os": details["Os"],
            "Arch": machine,
            "KernelVersion": details["KernelVersion"],
            "BuildTime": "",
        },
    )


async def info(call: Call[Cluster]) -> web.StreamResponse:
    cluster = call.cluster
    nodes = _nodes(cluster)
    known = [node.info for node in nodes if node.info]
    totals = cluster.view.totals
    status = _system_status(cluster, nodes)
    body: dict[str, Any] = {
        "ID": f"swarmproxy-{cluster.proxy_id}",
        "Containers": totals.all.containers,
        "ContainersRunning": totals.all.running,
        "ContainersPaused": totals.all.paused,
        "ContainersStopped": totals.all.stopped,
        "Images": totals.images,
        "DriverStatus": [],
        "SystemStatus": status,
        "Plugins": _plugins(known),
        **{key: all(one.get(key, False) for one in known) for key in _ALL_HAVE},
        **{key: _common([one.get(key) for one in known]) for key in _COMMON},
        "Debug": False,
        "NFd": 0,
        "NGoroutines": 0,
        "SystemTime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "NEventsListener": len(cluster.view.events),
        "KernelVersion": _common([one.get("KernelVersion") for one in known], "mixed"),
        "OperatingSystem": _common([one.get("OperatingSystem") for one in known], "mixed"),
        "OSVersion": _common([one.get("OSVersion") for one in known]),
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": (known[0].get("RegistryConfig") if known else None) or {},
        "NCPU": totals.cpus,
        "MemTotal": totals.memory,
        "GenericResources": None,
        "DockerRootDir": _common([one.get("DockerRootDir") for one in known]),
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": platform.node(),
        "Labels": [],
        "ExperimentalBuild": False,
        "ServerVersion": f"swarmproxy/{__version__}",
        "Runtimes": {key: value for one in reversed(known) for key, value in (one.get("Runtimes") or {}).items()},
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": all(one.get("LiveRestoreEnabled", False) for one in known),
        "Isolation": "",
        "InitBinary": _common([one.get("InitBinary") for one in known]),
        "ContainerdCommit": {"ID": "", "Expected": ""},
        "RuncCommit": {"ID": "", "Expected": ""},
        "InitCommit": {"ID": "", "Expected": ""},
        "SecurityOptions": sorted({option for one in known for option in one.get("SecurityOptions") or ()}),
        "Warnings": _warnings(cluster, nodes),
    }
    return replies.json(call, body)


def _plugins(known: list[dict[str, Any]]) -> dict[str, list[str]]:
    kinds = ("Volume", "Network", "Authorization", "Log")
    return {
        kind: sorted({name for one in known for name in (one.get("Plugins") or {}).get(kind) or ()}) for kind in kinds
    }


def _warnings(cluster: Cluster, nodes: list[Node]) -> list[str]:
    warnings: list[str] = []
    if cluster.cache.lost_since is not None:
        seconds = time.monotonic() - cluster.cache.lost_since
        warnings.append(
            f"WARNING: the cluster's store is lost since {seconds:.0f} s ({cluster.cache.reason}): "
            "containers and networks cannot be created"
        )
    for node in nodes:
        if node.warning:
            warnings.append(f"WARNING: {node.name}: {node.warning}")
        if not node.healthy:
            warnings.append(f"WARNING: {node.name}: {node.health.reason}")
        for text in node.info.get("Warnings") or ():
            warnings.append(f"{node.name}: {text}")
        doubled = sorted(entry.shown for entry in node.containers.values() if "/" in entry.shown)
        if doubled:
            shown = ", ".join(doubled[:5]) + (" …" if len(doubled) > 5 else "")
            warnings.append(f"WARNING: {node.name}: names that another node holds too: {shown}")
    return warnings


def _system_status(cluster: Cluster, nodes: list[Node]) -> list[list[str]]:
    """Classic Swarm's lines, read by people and by scripts."""
    rows = [
        ["Role", "primary"],
        ["Strategy", cluster.strategy_name],
        ["Filters", ", ".join(each.name for each in cluster.filters)],
        ["Nodes", str(len(nodes))],
    ]
    for node in nodes:
        counts = cluster.view.totals.node(node.id)
        reserved = cluster.records.reserved(node.id)
        labels = ", ".join(f"{key}={value}" for key, value in sorted(node.labels.items()))
        rows += [
            [f" {node.name}", node.address],
            ["  └ ID", f"{node.id}|{node.info.get('ID', '')}"],
            ["  └ Status", _status(node)],
            [
                "  └ Containers",
                f"{counts.containers} ({counts.running} Running, {counts.paused} Paused, {counts.stopped} Stopped)",
            ],
            ["  └ Reserved CPUs", f"{reserved.cpu / 1e9:g} / {node.cpus}"],
            ["  └ Reserved Memory", f"{_size(reserved.memory)} / {_size(node.memory)}"],
            ["  └ Labels", labels],
        ]
        if not node.healthy:
            rows.append(["  └ Error", node.health.reason])
        updated = datetime.fromtimestamp(node.updated, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if node.updated else ""
        rows += [["  └ UpdatedAt", updated], ["  └ ServerVersion", str(node.info.get("ServerVersion") or "")]]
        if not node.agent_alive:
            rows.append(["  └ Agent", "none: no cluster networks there"])
    return rows


def _status(node: Node) -> str:
    if node.healthy:
        return "Healthy" if node.member.availability == "active" else f"Healthy ({node.member.availability})"
    return "Pending" if not node.info else "Unhealthy"


def _size(count: int) -> str:
    """Bytes as classic Swarm wrote them: four significant digits, binary units."""
    value, units = float(count), ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    for unit in units:
        if value < 1024 or unit == units[-1]:
            return f"{value:.4g} {unit}"
        value /= 1024
    raise AssertionError("the last unit returns")


async def any_engine(call: Call[Cluster]) -> web.StreamResponse:
    """auth, distribution: any healthy engine can answer."""
    for node in _nodes(call.cluster):
        if node.healthy:
            return await passthrough(call, node.engine, call.path)
    raise ServerError("No healthy node available in the cluster")
