"""JSON bodies of containers as the two engines write them, made from what `objects` keeps.

Keys stand in the engines' order where that is cheap: readers that cut a list entry at its Status text meet the same
bytes as with a real engine.
"""

from __future__ import annotations

from typing import Any

import msgspec

from swarmproxy.testing.daemon import Daemon, rfc3339
from swarmproxy.testing.objects import Container, Endpoint, Exec

__all__ = [
    "CONFIG",
    "HOST",
    "command_line",
    "endpoint",
    "entry",
    "exec_state",
    "human_duration",
    "inspect",
    "status_text",
]

Tree = dict[str, Any]

_CONFIG_ALWAYS: Tree = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": {},
}
_CONFIG_MAYBE = (
    "ExposedPorts", "Healthcheck", "ArgsEscaped", "NetworkDisabled", "MacAddress", "StopSignal", "StopTimeout", "Shell"
)  # fmt: skip
_CONFIG = (
    "Hostname", "Domainname", "User", "AttachStdin", "AttachStdout", "AttachStderr", "ExposedPorts", "Tty",
    "OpenStdin", "StdinOnce", "Env", "Cmd", "Healthcheck", "ArgsEscaped", "Image", "Volumes", "WorkingDir",
    "Entrypoint", "NetworkDisabled", "MacAddress", "OnBuild", "Labels", "StopSignal", "StopTimeout", "Shell",
)  # fmt: skip
"""In the engines' order."""
CONFIG = frozenset(_CONFIG)

_HOST_ALWAYS: Tree = {
    "Binds": None, "ContainerIDFile": "", "LogConfig": {"Type": "json-file", "Config": {}}, "NetworkMode": "default",
    "PortBindings": None, "RestartPolicy": {"Name": "", "MaximumRetryCount": 0}, "AutoRemove": False,
    "VolumeDriver": "", "VolumesFrom": None, "CapAdd": None, "CapDrop": None, "CgroupnsMode": "host", "Dns": None,
    "DnsOptions": None, "DnsSearch": None, "ExtraHosts": None, "GroupAdd": None, "IpcMode": "private", "Cgroup": "",
    "Links": None, "OomScoreAdj": 0, "PidMode": "", "Privileged": False, "PublishAllPorts": False,
    "ReadonlyRootfs": False, "SecurityOpt": None, "UTSMode": "", "UsernsMode": "", "ShmSize": 67108864,
    "Runtime": "runc", "ConsoleSize": [0, 0], "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0,
    "CgroupParent": "", "BlkioWeight": 0, "BlkioWeightDevice": None, "BlkioDeviceReadBps": None,
    "BlkioDeviceWriteBps": None, "BlkioDeviceReadIOps": None, "BlkioDeviceWriteIOps": None, "CpuPeriod": 0,
    "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "",
    "Devices": None, "DeviceCgroupRules": None, "DeviceRequests": None, "MemoryReservation": 0, "MemorySwap": 0,
    "MemorySwappiness": None, "OomKillDisable": False, "PidsLimit": None, "Ulimits": None, "CpuCount": 0,
    "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0,
    "MaskedPaths": ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
    "ReadonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
}  # fmt: skip
_HOST_OLD: Tree = {"KernelMemory": 0, "KernelMemoryTCP": 0}
_HOST_MAYBE = ("Annotations", "Mounts", "StorageOpt", "Tmpfs", "Sysctls", "Init")
HOST = frozenset((*_HOST_ALWAYS, *_HOST_OLD, *_HOST_MAYBE))


def command_line(container: Container) -> tuple[str, list[str]]:
    """Path and Args of inspect."""
    words = [*(container.config.get("Entrypoint") or ()), *(container.config.get("Cmd") or ())]
    return (words[0], words[1:]) if words else ("", [])


def network_mode(daemon: Daemon, container: Container) -> str:
    mode = container.mode
    return "bridge" if mode == "default" and not daemon.flavour.old else mode


def endpoint(daemon: Daemon, container: Container, place: Endpoint, *, listed: bool, api: tuple[int, ...]) -> Tree:
    """One value of NetworkSettings.Networks; a list leaves out what the client configured."""
    settings = place.settings
    aliases = None if listed else list(settings.get("Aliases") or ()) or None
    own = not listed and place.joined and place.network not in ("bridge", "host", "none")
    if own and (daemon.flavour.old or api < (1, 45)):
        aliases = [*(aliases or ()), *(() if container.id[:12] in (aliases or ()) else (container.id[:12],))]
    shape: Tree = {
        "IPAMConfig": None if listed else settings.get("IPAMConfig"),
        "Links": None if listed else settings.get("Links"),
        "Aliases": aliases,
    }
    if not daemon.flavour.old:
        shape["MacAddress"] = place.mac
    shape |= {
        "NetworkID": place.network_id,
        "EndpointID": place.id,
        "Gateway": place.gateway,
        "IPAddress": place.ip,
        "IPPrefixLen": place.prefix,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
    }
    if daemon.flavour.old:
        shape["MacAddress"] = place.mac
    shape["DriverOpts"] = None if listed else settings.get("DriverOpts") or None
    if not daemon.flavour.old:
        names = [container.name, *(settings.get("Aliases") or ()), container.id[:12]]
        shape["DNSNames"] = list(dict.fromkeys(names)) if own else None
    return shape


# ---------------------------------------------------------------- list entries


def entry(daemon: Daemon, container: Container, *, size: bool = False) -> bytes:
    """One element of `containers/json`; only the Status text is made afresh."""
    if container.head is None:
        _prepare(daemon, container)
    assert container.head is not None
    head = container.head
    if size:
        head = head.replace(b'"Labels":', b'"SizeRootFs":1984207,"Labels":', 1)
    return head + msgspec.json.encode(status_text(daemon, container)) + container.tail


def _prepare(daemon: Daemon, container: Container) -> None:
    path, arguments = command_line(container)
    words = [f"'{word}'" if " " in word else word for word in arguments]
    shown = container.image if _resolves(daemon, container) else container.image_id
    head: Tree = {
        "Id": container.id,
        "Names": ["/" + container.name],
        "Image": shown,
        "ImageID": container.image_id,
        "Command": " ".join((path, *words)),
        "Created": container.created // 1_000_000_000,
        "Ports": _ports(container),
        "Labels": container.labels,
        "State": container.status,
    }
    networks = {
        key: endpoint(daemon, container, place, listed=True, api=(1, 45))
        for key, place in sorted(container.endpoints.items())
    }
    tail: Tree = {
        "HostConfig": {"NetworkMode": network_mode(daemon, container)},
        "NetworkSettings": {"Networks": networks},
        "Mounts": container.mounts,
    }
    container.tail = b"," + msgspec.json.encode(tail)[1:]
    container.head = msgspec.json.encode(head)[:-1] + b',"Status":'


def _resolves(daemon: Daemon, container: Container) -> bool:
    image = daemon.image(container.image)
    return image is not None and image.id == container.image_id


def _ports(container: Container) -> list[Tree]:
    shown: list[Tree] = []
    for key, bindings in container.ports.items():
        port, _, protocol = key.partition("/")
        if not bindings:
            shown.append({"PrivatePort": int(port), "Type": protocol})
        for binding in bindings or ():
            public = int(binding["HostPort"])
            shown.append({"IP": binding["HostIp"], "PrivatePort": int(port), "PublicPort": public, "Type": protocol})
    return shown


def status_text(daemon: Daemon, container: Container) -> str:
    """`Up 3 minutes (healthy)`, `Exited (1) 43 seconds ago`, …"""
    now = daemon.time()
    if container.running:
        if container.status == "restarting":
            ago = human_duration(now - container.finished / 1e9)
            return f"Restarting ({container.exit_code}) {ago} ago"
        up = f"Up {human_duration(now - container.started / 1e9)}"
        if container.status == "paused":
            return f"{up} (Paused)"
        if container.health:
            return f"{up} ({'health: starting' if container.health == 'starting' else container.health})"
        return up
    if container.status == "dead":
        return "Dead"
    if not container.started:
        return "Created"
    if not container.finished:
        return ""
    return f"Exited ({container.exit_code}) {human_duration(now - container.finished / 1e9)} ago"


def human_duration(seconds: float) -> str:
    """docker/go-units' HumanDuration, step by step."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = int(seconds / 60)
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600) // 24 // 365} years"


# ---------------------------------------------------------------- inspect


def inspect(daemon: Daemon, container: Container, api: tuple[int, ...]) -> Tree:
    path, arguments = command_line(container)
    folder = f"{daemon.root}/containers/{container.id}"
    return {
        "Id": container.id,
        "Created": rfc3339(container.created),
        "Path": path,
        "Args": arguments,
        "State": _state(container),
        "Image": container.image_id,
        "ResolvConfPath": f"{folder}/resolv.conf" if container.prepared else "",
        "HostnamePath": f"{folder}/hostname" if container.prepared > 1 else "",
        "HostsPath": f"{folder}/hosts" if container.prepared else "",
        "LogPath": f"{folder}/{container.id}-json.log" if container.prepared > 1 else "",
        "Name": "/" + container.name,
        "RestartCount": container.restarts,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(container.execs) or None,
        "HostConfig": _host(daemon, container),
        "GraphDriver": graph_driver(daemon, container.id, container.image_id),
        "Mounts": container.mounts,
        "Config": _config(daemon, container),
        "NetworkSettings": _network_settings(daemon, container, api),
    }


def graph_driver(daemon: Daemon, key: str, below: str = "") -> Tree:
    """`below`: the image a container's layer stands on."""
    store = f"{daemon.root}/overlay2"
    layer = f"{store}/{key.removeprefix('sha256:')}"
    names = {"MergedDir": f"{layer}/merged", "UpperDir": f"{layer}/diff", "WorkDir": f"{layer}/work"}
    if below:
        names = {"LowerDir": f"{layer}-init/diff:{store}/{below.removeprefix('sha256:')}/diff", **names}
    return {"Data": names, "Name": "overlay2"}


def _state(container: Container) -> Tree:
    state: Tree = {
        "Status": container.status,
        "Running": container.running,
        "Paused": container.status == "paused",
        "Restarting": container.status == "restarting",
        "OOMKilled": False,
        "Dead": container.status == "dead",
        "Pid": container.pid,
        "ExitCode": container.exit_code,
        "Error": container.error,
        "StartedAt": rfc3339(container.started),
        "FinishedAt": rfc3339(container.finished),
    }
    if container.health:
        state["Health"] = {"Status": container.health, "FailingStreak": 0, "Log": []}
    return state


def _config(daemon: Daemon, container: Container) -> Tree:
    given = container.config
    shape = {**_CONFIG_ALWAYS, **{key: given[key] for key in _CONFIG_ALWAYS if given.get(key) is not None}}
    shape |= {key: given[key] for key in _CONFIG_MAYBE if given.get(key)}
    shape["Hostname"] = shape["Hostname"] or (daemon.name if container.mode == "host" else container.id[:12])
    shape["Image"] = container.image
    return {key: shape[key] for key in _CONFIG if key in shape}


def _host(daemon: Daemon, container: Container) -> Tree:
    given = container.host
    always = {**_HOST_ALWAYS, **_HOST_OLD} if daemon.flavour.old else _HOST_ALWAYS
    shape = {**always, **{key: given[key] for key in always if given.get(key) is not None}}
    shape["NetworkMode"] = network_mode(daemon, container)
    log = shape["LogConfig"]
    shape["LogConfig"] = {"Type": log.get("Type") or "json-file", "Config": log.get("Config") or {}}
    policy = shape["RestartPolicy"]
    shape["RestartPolicy"] = {
        "Name": policy.get("Name") or ("" if daemon.flavour.old else "no"),
        "MaximumRetryCount": policy.get("MaximumRetryCount", 0),
    }
    shape["ShmSize"] = shape["ShmSize"] or 67108864
    shape["PortBindings"] = _bindings(shape["PortBindings"])
    if not daemon.flavour.old:
        shape["MaskedPaths"] = [*_HOST_ALWAYS["MaskedPaths"], "/sys/devices/virtual/powercap"]
    return shape | {key: given[key] for key in _HOST_MAYBE if given.get(key)}


def _bindings(given: Tree | None) -> Tree | None:
    if given is None:
        return None
    blank = {"HostIp": "", "HostPort": ""}
    return {port: [{**blank, **one} for one in bindings or ()] for port, bindings in given.items()}


def _network_settings(daemon: Daemon, container: Container, api: tuple[int, ...]) -> Tree:
    networks = {
        key: endpoint(daemon, container, place, listed=False, api=api)
        for key, place in sorted(container.endpoints.items())
    }
    bridge = networks.get("bridge", {})
    sandbox = "default" if container.sandbox and container.mode == "host" else container.sandbox[:12]
    return {
        "Bridge": "",
        "SandboxID": container.sandbox,
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": container.ports,
        "SandboxKey": f"/run/docker/netns/{sandbox}" if sandbox else "",
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": bridge.get("EndpointID", ""),
        "Gateway": bridge.get("Gateway", ""),
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": bridge.get("IPAddress", ""),
        "IPPrefixLen": bridge.get("IPPrefixLen", 0),
        "IPv6Gateway": "",
        "MacAddress": bridge.get("MacAddress", ""),
        "Networks": networks,
    }


def exec_state(exec_: Exec) -> Tree:
    body = exec_.body
    process: Tree = {
        "tty": bool(body.get("Tty")),
        "entrypoint": exec_.command[0],
        "arguments": exec_.command[1:],
        "privileged": bool(body.get("Privileged")),
    }
    return {
        "ID": exec_.id,
        "Running": exec_.running,
        "ExitCode": exec_.code,
        "ProcessConfig": process,
        "OpenStdin": bool(body.get("AttachStdin")),
        "OpenStderr": bool(body.get("AttachStderr")),
        "OpenStdout": bool(body.get("AttachStdout")),
        "CanRemove": False,
        "ContainerID": exec_.container,
        "DetachKeys": body.get("DetachKeys", ""),
        "Pid": exec_.pid,
    }
