"""Networks and the endpoints on them: subnets, addresses, connect and disconnect. No packet moves."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Any

from swarmproxy.model.errors import BadRequest, Conflict, DockerError, Forbidden, NotFound
from swarmproxy.testing.daemon import Daemon, rfc3339
from swarmproxy.testing.filters import Filters, boolean, labelled, matches_name
from swarmproxy.testing.objects import Container, Endpoint, Network

__all__ = [
    "PREDEFINED",
    "connect",
    "create",
    "disconnect",
    "join",
    "leave",
    "listing",
    "prune",
    "remove",
    "seed",
    "shape",
]

Tree = dict[str, Any]

PREDEFINED = ("none", "host", "bridge")
BUILT_IN = ("bridge", "host", "ipvlan", "macvlan", "null", "overlay")
NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
_POOLS = tuple(ip_network(f"172.{second}.0.0/16") for second in range(17, 32)) + tuple(
    ip_network(f"192.168.{third}.0/20") for third in range(0, 256, 16)
)
_BRIDGE_OPTIONS = {
    "com.docker.network.bridge.default_bridge": "true",
    "com.docker.network.bridge.enable_icc": "true",
    "com.docker.network.bridge.enable_ip_masquerade": "true",
    "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
    "com.docker.network.bridge.name": "docker0",
    "com.docker.network.driver.mtu": "1500",
}


def seed(daemon: Daemon) -> None:
    """The three that every engine has."""
    for name, driver in (("none", "null"), ("host", "host"), ("bridge", "bridge")):
        options = _BRIDGE_OPTIONS if name == "bridge" else {}
        network = Network(daemon.new_id(), name, driver, daemon.now(), {"Name": name, "Options": options})
        if name == "bridge":
            network.subnet, network.gateway = IPv4Network("172.17.0.0/16"), "172.17.0.1"
            network.taken = {1: ""}
        daemon.networks[network.id] = network


def shape(daemon: Daemon, network: Network, *, members: bool) -> Tree:
    """Inspect's body; lists never show members."""
    body = network.body
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339(network.created),
        "Scope": body.get("Scope") or "local",
        "Driver": network.driver,
        "EnableIPv6": bool(body.get("EnableIPv6")),
        "IPAM": _ipam(daemon, network),
        "Internal": bool(body.get("Internal")),
        "Attachable": bool(body.get("Attachable")),
        "Ingress": bool(body.get("Ingress")),
        "ConfigFrom": body.get("ConfigFrom") or {"Network": ""},
        "ConfigOnly": bool(body.get("ConfigOnly")),
        "Containers": {key: _member(daemon, key, place) for key, place in network.members.items()} if members else {},
        "Options": body.get("Options") or {},
        "Labels": body.get("Labels") or {},
    }


def _ipam(daemon: Daemon, network: Network) -> Tree:
    given = network.body.get("IPAM") or {}
    config: list[Tree] | None = given.get("Config") or ([] if daemon.flavour.old else None)
    if not given.get("Config") and network.subnet is not None:
        config = [{"Subnet": str(network.subnet), "Gateway": network.gateway}]
        if daemon.flavour.old and network.name == "bridge":
            del config[0]["Gateway"]
    return {"Driver": given.get("Driver") or "default", "Options": given.get("Options"), "Config": config}


def _member(daemon: Daemon, key: str, place: Endpoint) -> Tree:
    return {
        "Name": daemon.containers[key].name,
        "EndpointID": place.id,
        "MacAddress": place.mac,
        "IPv4Address": f"{place.ip}/{place.prefix}" if place.ip else "",
        "IPv6Address": "",
    }


# ---------------------------------------------------------------- networks


def create(daemon: Daemon, body: Tree) -> tuple[Network, str]:
    """The network and the warning."""
    flavour = daemon.flavour
    name = body.get("Name") or ""
    if not name.strip():
        raise DockerError(f"invalid name: {name}", status=flavour.status(500, 400))
    if name in (*PREDEFINED, "default"):
        raise Forbidden(f"operation is not permitted on predefined {name} network ")
    driver = body.get("Driver") or "bridge"
    if driver == "overlay":
        raise DockerError(NO_MANAGER, status=flavour.status(500, 403))
    same = [network for network in daemon.networks.values() if network.name == name]
    warning = ""
    if same:
        if body.get("CheckDuplicate") or not flavour.old:
            raise Conflict(f"network with name {name} already exists")
        warning = f"Network with name {name} (id : {same[0].id}) already exists"
    if driver not in BUILT_IN and driver not in daemon.plugins:
        raise NotFound(f'plugin "{driver}" not found')
    network = Network(daemon.new_id(), name, driver, daemon.now(), body)
    _address(daemon, network)
    daemon.networks[network.id] = network
    daemon.emit_network(network, "create")
    return network, warning


def _address(daemon: Daemon, network: Network) -> None:
    given = (network.body.get("IPAM") or {}).get("Config") or [{}]
    asked = given[0].get("Subnet") or ""
    used = [other.subnet for other in daemon.networks.values() if other.subnet is not None]
    if asked:
        try:
            network.subnet = IPv4Network(asked, strict=False)
        except ValueError:
            old = f"Invalid subnet {asked} : invalid CIDR address: {asked}"
            new = f"invalid network config:\ninvalid subnet {asked}: invalid CIDR block notation"
            raise DockerError(daemon.flavour.say(old, new), status=daemon.flavour.status(500, 400)) from None
        network.configured = True
        if network.driver not in daemon.plugins and any(network.subnet.overlaps(other) for other in used):
            raise Forbidden("Pool overlaps with other one on this address space")
    else:
        free = (pool for pool in _POOLS if not any(pool.overlaps(other) for other in used))
        network.subnet = next((pool for pool in free if isinstance(pool, IPv4Network)), None)
        if network.subnet is None:
            raise DockerError("could not find an available, non-overlapping IPv4 address pool")
    gateway = given[0].get("Gateway") or str(network.subnet.network_address + 1)
    network.gateway = gateway
    network.taken = {int(IPv4Address(gateway)) - int(network.subnet.network_address): ""}


def remove(daemon: Daemon, reference: str) -> None:
    network = daemon.network(reference)
    if network.name in PREDEFINED:
        raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
    if network.members:
        raise Forbidden(f"error while removing network: network {network.name} id {network.id} has active endpoints")
    del daemon.networks[network.id]
    daemon.emit_network(network, "destroy")


def prune(daemon: Daemon, filters: Filters) -> list[str]:
    """Names of those removed: nobody on them, running or not."""
    used = {
        place.network_id or place.network for item in daemon.containers.values() for place in item.endpoints.values()
    }
    gone = []
    for network in list(daemon.networks.values()):
        if network.name in PREDEFINED or network.members or used & {network.id, network.name}:
            continue
        if labelled(network.body.get("Labels") or {}, filters.get("label", ())):
            remove(daemon, network.id)
            gone.append(network.name)
    daemon.emit("network", "prune", "", {"reclaimed": "0"})
    return gone


def listing(daemon: Daemon, filters: Filters) -> list[Network]:
    shown = []
    for network in daemon.networks.values():
        built_in = network.name in PREDEFINED
        kinds = filters.get("type")
        if kinds and (kinds - {"custom", "builtin"}):
            raise DockerError(f"invalid filter: 'type'='{next(iter(kinds))}'")
        checks = (
            "name" not in filters or matches_name(network.name, filters["name"]),
            "id" not in filters or any(part in network.id for part in filters["id"]),
            "driver" not in filters or network.driver in filters["driver"],
            "scope" not in filters or "local" in filters["scope"],
            not kinds or ("builtin" if built_in else "custom") in kinds,
            labelled(network.body.get("Labels") or {}, filters.get("label", ())),
            "dangling" not in filters
            or boolean(next(iter(filters["dangling"]))) == (not network.members and not built_in),
        )
        if all(checks):
            shown.append(network)
    return shown


# ---------------------------------------------------------------- endpoints


def join(daemon: Daemon, container: Container, place: Endpoint, network: Network, *, quiet: bool = False) -> None:
    """Gives a running container its place: address, endpoint id, event."""
    place.network_id = network.id
    place.id = daemon.new_id()
    place.joined = True
    if network.subnet is not None:
        base = int(network.subnet.network_address)
        fixed = (place.settings.get("IPAMConfig") or {}).get("IPv4Address")
        host = int(IPv4Address(fixed)) - base if fixed else 1
        if fixed and network.taken.get(host):
            place.clear()
            raise Forbidden("Address already in use")
        while not fixed and host in network.taken:
            host += 1
        network.taken[host] = container.id
        place.ip = str(IPv4Address(base + host))
        place.prefix = network.subnet.prefixlen
        hidden = network.body.get("Internal") and not daemon.flavour.old
        place.gateway = "" if hidden else network.gateway
        octets = IPv4Address(place.ip).packed
        place.mac = place.settings.get("MacAddress") or "02:42:" + ":".join(f"{octet:02x}" for octet in octets)
    network.members[container.id] = place
    container.changed()
    if not quiet:
        daemon.emit_network(network, "connect", container.id)


def leave(daemon: Daemon, container: Container, place: Endpoint, *, times: int = 1) -> None:
    """Takes the place back; the network's id stays in the endpoint, as an engine keeps it."""
    network = daemon.networks.get(place.network_id)
    if network is not None and network.members.pop(container.id, None) is not None:
        if network.subnet is not None and place.ip:
            network.taken.pop(int(IPv4Address(place.ip)) - int(network.subnet.network_address), None)
        for _ in range(times):
            daemon.emit_network(network, "disconnect", container.id)
    place.clear()
    container.changed()


def connect(daemon: Daemon, reference: str, body: Tree) -> None:
    """The container is looked for first. A stopped one only notes the network."""
    container = daemon.container(body.get("Container") or "")
    network = daemon.network(reference)
    settings = body.get("EndpointConfig") or {}
    if network.name == "host":
        raise BadRequest("container cannot be disconnected from host network or connected to host network")
    if container.mode == "host" or (container.running and container.mode.startswith("container:")):
        raise BadRequest(
            "container sharing network namespace with another container or host "
            "cannot be connected to any other network"
        )
    if network.name == "none" or "none" in container.endpoints:
        raise BadRequest(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )
    _check_settings(daemon, network, settings)
    if container.running and network.name in container.endpoints:
        raise Forbidden(f"endpoint with name {container.name} already exists in network {network.name}")
    place = Endpoint(network.name, settings, network_id="", joined=True)
    container.endpoints[network.name] = place
    container.changed()
    if container.running:
        join(daemon, container, place, network)


def _check_settings(daemon: Daemon, network: Network, settings: Tree) -> None:
    faults = []
    custom = network.name not in PREDEFINED
    if settings.get("Aliases") and not custom:
        faults.append("network-scoped alias is supported only for containers in user defined networks")
    if (settings.get("IPAMConfig") or {}).get("IPv4Address"):
        if not custom:
            faults.append("user specified IP address is supported on user defined networks only")
        if not network.configured and (custom or not daemon.flavour.old):
            faults.append(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
            )
    if not faults:
        return
    if daemon.flavour.old:
        raise BadRequest(faults[0])
    several = faults[0] if len(faults) == 1 else "\n".join(f"* {fault}" for fault in faults)
    raise BadRequest(f"invalid endpoint settings:\n{several}")


def disconnect(daemon: Daemon, reference: str, body: Tree) -> None:
    """An explicit one of a running container is told twice."""
    wanted = body.get("Container") or ""
    try:
        container = daemon.container(wanted)
    except NotFound:
        if not body.get("Force"):
            raise
        raise NotFound(f"endpoint {wanted} not found") from None
    network = daemon.network(reference)
    if network.name == "host":
        raise BadRequest("container cannot be disconnected from host network or connected to host network")
    place = container.endpoints.get(network.name)
    if place is None:
        to = "network" if container.running else "the network"
        raise DockerError(f"container {container.id} is not connected to {to} {network.name}")
    if container.running:
        leave(daemon, container, place, times=2)
    del container.endpoints[network.name]
    container.changed()
