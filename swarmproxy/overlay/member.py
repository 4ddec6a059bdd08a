"""This node in the store: a durable record under an id that is made once, and a leased one that says its agent lives.

What operators set (labels, availability) and what this version does not know stays as it is; engine id, address, VTEP
and MTU are attributes and are written afresh. A removed record comes back with the next start of the agent, not before:
`node rm` of a node whose agent still runs holds.
"""

from __future__ import annotations

import ipaddress
import secrets
from pathlib import Path

import msgspec

from swarmproxy.discovery.store import ModIs, Put, Store
from swarmproxy.model import keys
from swarmproxy.model.codec import amend, decode, encode
from swarmproxy.model.records import Member

__all__ = ["nameservers", "node_id", "register"]

FILE = "node.json"
_RESOLV = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")


class _Identity(msgspec.Struct):
    id: str


def node_id(folder: Path) -> str:
    """The id kept in the state folder, made at the first call. Raises OSError, or ValueError when it cannot be read."""
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Identity).id
    except FileNotFoundError:
        pass
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    made = _Identity(secrets.token_hex(12))
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(made))
    fresh.replace(path)
    return made.id


async def register(store: Store, fresh: Member, *, create: bool) -> Member | None:
    """Writes the member's record; what stands there now, None when it is absent and not to be created.

    `fresh.labels` are added to those there; an engine id that is unknown yet ("") keeps the former one.
    Raises Unavailable.
    """
    key = keys.node(fresh.id)
    while True:
        kv = await store.get(key)
        if kv is None and not create:
            return None
        old = decode(Member, kv.value) if kv is not None else None
        record = fresh
        if old is not None:
            record = msgspec.structs.replace(
                fresh,
                labels=old.labels | fresh.labels,
                availability=old.availability,
                engine_id=fresh.engine_id or old.engine_id,
                name=fresh.name or old.name,
            )
        value = amend(kv.value, record) if kv is not None else encode(record)
        if kv is not None and kv.value == value:
            return record
        if (await store.txn([ModIs(key, kv.mod_revision if kv is not None else 0)], [Put(key, value)])).ok:
            return record


def nameservers(paths: tuple[str, ...] = _RESOLV) -> list[str]:
    """The host's DNS servers; those behind a local stub (systemd-resolved) in its place. Loopback ones are left out."""
    for path in paths:
        try:
            lines = Path(path).read_text(errors="replace").splitlines()
        except OSError:
            continue
        found = [words[1] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"]
        usable = [ip for ip in found if _reachable_from_containers(ip)]
        if usable:
            return usable
    return []


def _reachable_from_containers(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False
