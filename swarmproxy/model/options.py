"""The marks that we put on engines' objects: label and option names, spelt once.

Labels sit on containers; driver options travel with an endpoint into the plugin's CreateEndpoint and come again at
every restart, because the engine keeps them. Everything here is taken out again before a client sees it.
"""

from __future__ import annotations

from hashlib import sha256

DRIVER = "swarmproxy"
"""Name of the network and IPAM driver: the plugin's socket is /run/docker/plugins/swarmproxy.sock."""

LABEL_PREFIX = "swarmproxy."
LABEL_TOKEN = "swarmproxy.token"
LABEL_NODE = "swarmproxy.node"
"""Virtual: shown in lists, never stored on an engine."""
LABEL_DNS = "swarmproxy.dns"
"""JSON of the client's own HostConfig.Dns (null when absent), present when we replaced it."""

LABEL_NETWORK = "swarmproxy.network"
"""On an engine's copy of a cluster network that its own drivers carry: the cluster id."""

OPTION_PREFIX = "swp."
NETWORK_ID = "swp.id"
NETWORK_VNI = "swp.vni"
NETWORK_MTU = "swp.mtu"
ENDPOINT_TOKEN = "swp.token"
ENDPOINT_NAME = "swp.name"
ENDPOINT_ALIASES = "swp.aliases"
"""JSON list of strings."""
ENDPOINT_LINKS = "swp.links"
"""JSON object alias → container name; only this endpoint's own questions see them."""

DNS_ADDRESS = "169.254.215.53"
"""Where the agent answers, on every overlay's bridge and on the host's loopback; reached by a /32 route from Join."""

PREDEFINED = {name: sha256(f"swarmproxy {name}".encode()).hexdigest() for name in ("bridge", "host", "none")}
"""name → the fixed cluster id of the networks that every engine has."""
