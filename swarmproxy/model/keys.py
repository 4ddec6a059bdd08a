"""The layout of the store: the only place where a key is spelt.

Keys here are relative; a store puts `ROOT` (and the prefix of its URL) before them. Ids never hold a slash. Names of
volumes and networks are what the engine allows ([a-zA-Z0-9][a-zA-Z0-9_.-]*, so no slash); image references and CIDRs
do hold slashes, therefore they are percent-encoded and only ever the last part of a key.

    meta                    schema and cluster id
    nodes/N                 Member                durable; leaves by `node rm` or its static list
    agents/N  proxies/P     Agent, Proxy          on the session's lease
    names/NAME              Name                  with alloc, create-if-absent; leased while pending
    alloc/N/TOKEN           Alloc                 leased while pending
    networks/NID            Network               one transaction with netnames/NAME, vni/V, subnets/CIDR
    netnodes/NID/N          NetworkCopy           claimed before the lazy create on a node
    ipam/NID/IP             Address
    endpoints/NID/EID       Endpoint
    volumes/NAME            Volume
    images/REF              ImageRef
    suspects/N/P            Suspect               on the proxy's lease
    duties/D                Duty                  on the proxy's lease
"""

from __future__ import annotations

from urllib.parse import quote, unquote

ROOT = "/swarmproxy/v1/"

META = "meta"
NODES = "nodes/"
AGENTS = "agents/"
PROXIES = "proxies/"
NAMES = "names/"
ALLOC = "alloc/"
NETWORKS = "networks/"
NETNAMES = "netnames/"
VNIS = "vni/"
SUBNETS = "subnets/"
NETNODES = "netnodes/"
IPAM = "ipam/"
ENDPOINTS = "endpoints/"
VOLUMES = "volumes/"
IMAGES = "images/"
SUSPECTS = "suspects/"
DUTIES = "duties/"


def node(node_id: str) -> str:
    return NODES + node_id


def agent(node_id: str) -> str:
    return AGENTS + node_id


def proxy(proxy_id: str) -> str:
    return PROXIES + proxy_id


def name(container_name: str) -> str:
    return NAMES + container_name


def allocs(node_id: str) -> str:
    """The range that guards ports, CPU and memory of one node."""
    return f"{ALLOC}{node_id}/"


def alloc(node_id: str, token: str) -> str:
    return f"{ALLOC}{node_id}/{token}"


def network(network_id: str) -> str:
    return NETWORKS + network_id


def netname(network_name: str) -> str:
    return NETNAMES + quote(network_name, safe="")


def vni(number: int) -> str:
    return f"{VNIS}{number}"


def subnet(cidr: str) -> str:
    return SUBNETS + quote(cidr, safe="")


def netnodes(network_id: str) -> str:
    return f"{NETNODES}{network_id}/"


def netnode(network_id: str, node_id: str) -> str:
    return f"{NETNODES}{network_id}/{node_id}"


def addresses(network_id: str) -> str:
    return f"{IPAM}{network_id}/"


def address(network_id: str, ip: str) -> str:
    return f"{IPAM}{network_id}/{ip}"


def endpoints(network_id: str) -> str:
    return f"{ENDPOINTS}{network_id}/"


def endpoint(network_id: str, endpoint_id: str) -> str:
    return f"{ENDPOINTS}{network_id}/{endpoint_id}"


def volume(volume_name: str) -> str:
    return VOLUMES + quote(volume_name, safe="")


def image(reference: str) -> str:
    return IMAGES + quote(reference, safe="")


def suspect(node_id: str, proxy_id: str) -> str:
    return f"{SUSPECTS}{node_id}/{proxy_id}"


def duty(duty_name: str) -> str:
    return DUTIES + duty_name


def parts(key: str) -> tuple[str, ...]:
    """The decoded parts of a key: `endpoints/NID/EID` → ("endpoints", NID, EID)."""
    return tuple(unquote(part) for part in key.split("/"))
