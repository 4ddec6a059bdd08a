"""What must hold between claims and containers, from the store's and the engines' own words.

`wrong` lists every breach as a sentence; [] is a cluster in order. Nothing of the product takes part in the judgement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Keys = Mapping[str, Mapping[str, Any]]
"""Key relative to the product's root → decoded value."""
Containers = Mapping[str, Mapping[str, str]]
"""Member id → container id → name without slash."""


def wrong(stored: Keys, containers: Containers) -> list[str]:
    """Breaches of "one bound claim a container, one container a claim, a name leads to a claim"."""
    found: list[str] = []
    claims: dict[tuple[str, str], list[str]] = {}
    tokens: set[tuple[str, str]] = set()
    for key, alloc in stored.items():
        kind, *path = key.split("/")
        if kind != "alloc":
            continue
        node, token = path
        tokens.add((node, token))
        container = alloc.get("container", "")
        if alloc.get("state") != "bound":
            found.append(f"{key} is pending")
        elif container not in containers.get(node, {}):
            found.append(f"{key} is bound to {container[:12] or 'nothing'}, which {node} does not have")
        else:
            claims.setdefault((node, container), []).append(token)
    for node, held in containers.items():
        for container, name in held.items():
            if len(claims.get((node, container), ())) != 1:
                found.append(f"{name} on {node} has {len(claims.get((node, container), ()))} claims")
    for key, name in stored.items():
        if key.startswith("names/") and (name.get("node", ""), name.get("token", "")) not in tokens:
            found.append(f"{key} leads to no claim")
    return found
