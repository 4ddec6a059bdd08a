"""`/version`, `/info` and `/system/df` of a simulated engine."""

from __future__ import annotations

from typing import Any

import msgspec

from swarmproxy.testing import images, volumes
from swarmproxy.testing.daemon import Daemon, rfc3339
from swarmproxy.testing.networks import BUILT_IN
from swarmproxy.testing.shapes import entry

__all__ = ["disk_usage", "info", "version"]

Tree = dict[str, Any]

KERNEL = "6.1.0-18-amd64"
BUILT = "2024-03-01T00:00:00.000000000+00:00"
RUNC = "1.1.5+ds1"


def version(daemon: Daemon) -> Tree:
    flavour = daemon.flavour
    details = {
        "ApiVersion": flavour.api,
        "Arch": "amd64",
        "BuildTime": BUILT,
        "Experimental": "false",
        "GitCommit": flavour.git,
        "GoVersion": flavour.go,
        "KernelVersion": KERNEL,
        "MinAPIVersion": flavour.minimum,
        "Os": "linux",
    }
    return {
        "Platform": {"Name": ""},
        "Components": [
            {"Name": "Engine", "Version": flavour.version, "Details": details},
            {"Name": "containerd", "Version": flavour.containerd, "Details": {"GitCommit": flavour.containerd}},
            {"Name": "runc", "Version": RUNC, "Details": {"GitCommit": RUNC}},
            {"Name": "docker-init", "Version": "0.19.0", "Details": {"GitCommit": ""}},
        ],
        "Version": flavour.version,
        "ApiVersion": flavour.api,
        "MinAPIVersion": flavour.minimum,
        "GitCommit": flavour.git,
        "GoVersion": flavour.go,
        "Os": "linux",
        "Arch": "amd64",
        "KernelVersion": KERNEL,
        "BuildTime": BUILT,
    }


def info(daemon: Daemon) -> Tree:
    """In the engines' order of keys."""
    return {
        "ID": daemon.id,
        **_counts(daemon),
        **_storage(daemon),
        **_limits(daemon),
        **_host(daemon),
        **_engine(daemon),
    }


def _counts(daemon: Daemon) -> Tree:
    states = [container.status for container in daemon.containers.values()]
    paused = states.count("paused")
    running = states.count("running") + states.count("restarting")
    return {
        "Containers": len(states),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": len(states) - running - paused,
        "Images": len(daemon.images),
    }


def _storage(daemon: Daemon) -> Tree:
    metacopy = [] if daemon.flavour.old else [["Using metacopy", "false"]]
    return {
        "Driver": "overlay2",
        "DriverStatus": [
            ["Backing Filesystem", "extfs"],
            ["Supports d_type", "true"],
            *metacopy,
            ["Native Overlay Diff", "true"],
            ["userxattr", "false"],
        ],
        "Plugins": {
            "Volume": ["local"],
            "Network": sorted({*BUILT_IN, *daemon.plugins}),
            "Authorization": None,
            "Log": ["awslogs", "fluentd", "gcplogs", "gelf", "journald", "json-file", "local", "splunk", "syslog"],
        },
    }


def _limits(daemon: Daemon) -> Tree:
    names = ["MemoryLimit", "SwapLimit"]
    names += ["KernelMemory"] if daemon.flavour.old else []
    names += ["KernelMemoryTCP", "CpuCfsPeriod", "CpuCfsQuota", "CPUShares", "CPUSet", "PidsLimit"]
    names += ["IPv4Forwarding", "BridgeNfIptables", "BridgeNfIp6tables"]
    return dict.fromkeys(names, True)


def _host(daemon: Daemon) -> Tree:
    nothing: list[str] | None = [] if daemon.flavour.old else None
    return {
        "Debug": False,
        "NFd": 28,
        "OomKillDisable": True,
        "NGoroutines": 41,
        "SystemTime": rfc3339(int(daemon.time() * 1e9)),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "1",
        "NEventsListener": daemon.ring.listeners,
        "KernelVersion": KERNEL,
        "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
        "OSVersion": "12",
        "OSType": "linux",
        "Architecture": "x86_64",
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "AllowNondistributableArtifactsCIDRs": nothing,
            "AllowNondistributableArtifactsHostnames": nothing,
            "InsecureRegistryCIDRs": ["127.0.0.0/8"],
            "IndexConfigs": {"docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}},
            "Mirrors": nothing,
        },
        "NCPU": daemon.cpus,
        "MemTotal": daemon.memory,
        "GenericResources": None,
        "DockerRootDir": daemon.root,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": daemon.name,
        "Labels": daemon.labels,
    }


def _engine(daemon: Daemon) -> Tree:
    flavour = daemon.flavour
    runc: Tree = {"path": "runc"} if flavour.old else {"path": "runc", "status": {}}
    runtimes: Tree = {"io.containerd.runc.v2": runc, "runc": runc}
    if flavour.old:
        runtimes["io.containerd.runtime.v1.linux"] = runc
    swarm = {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": ""}
    shape: Tree = {
        "ExperimentalBuild": False,
        "ServerVersion": flavour.version,
        "Runtimes": runtimes,
        "DefaultRuntime": "runc",
        "Swarm": {**swarm, "RemoteManagers": None},
        "LiveRestoreEnabled": False,
        "Isolation": "",
        "InitBinary": "docker-init",
        "ContainerdCommit": {"ID": flavour.containerd, "Expected": flavour.containerd},
        "RuncCommit": {"ID": RUNC, "Expected": RUNC},
        "InitCommit": {"ID": "", "Expected": ""},
        "SecurityOptions": ["name=seccomp,profile=default" if flavour.old else "name=seccomp,profile=builtin"],
    }
    if not flavour.old:
        shape["CDISpecDirs"] = []
    return {**shape, "Warnings": None}


def disk_usage(daemon: Daemon, api: tuple[int, ...]) -> bytes:
    """JSON bytes: the list entries in it are bytes already."""
    users: dict[str, int] = {}
    for container in daemon.containers.values():
        users[container.image_id] = users.get(container.image_id, 0) + 1
    body: Tree = {
        "LayersSize": sum(image.size for image in daemon.images.values()),
        "Images": [
            images.summary(daemon, image, api) | {"Containers": users.get(image.id, 0), "SharedSize": 0}
            for image in daemon.images.values()
        ],
        "Containers": [msgspec.Raw(entry(daemon, item, size=True)) for item in reversed(daemon.containers.values())],
        "Volumes": [
            volumes.shape(daemon, volume)
            | {"UsageData": {"RefCount": len(volumes.users(daemon, volume.name)), "Size": 0}}
            for volume in daemon.volumes.values()
        ],
        "BuildCache": None if daemon.flavour.old else [],
        "BuilderSize": 0,
    }
    return msgspec.json.encode(body)
