"""Names of endpoints that their options do not tell: those made behind our back, and renamed containers.

An endpoint that came with a token is named by its options and its claim, before its first packet. One without is named
from the engine once the engine says that it is connected, some 0.2 s later. A rename reaches neither options nor
network, only the engine's event.
"""

from __future__ import annotations

import msgspec

from swarmproxy.discovery.store import ModIs, Put, Store
from swarmproxy.model import keys
from swarmproxy.model.codec import amend, decode
from swarmproxy.model.records import Endpoint

__all__ = ["rename"]

_TRIES = 5


async def rename(
    store: Store, nid: str, endpoint_id: str, *, container: str, name: str, aliases: list[str] | None = None
) -> bool:
    """Writes a container's id and present name into its endpoint's record; False when there is none.

    `aliases` replaces those of an endpoint that came without a token; others keep what their options said.
    Raises Unavailable.
    """
    key = keys.endpoint(nid, endpoint_id)
    for _ in range(_TRIES):
        kv = await store.get(key)
        old = decode(Endpoint, kv.value) if kv is not None else None
        if kv is None or old is None:
            return False
        names = [each for each in (name, container[:12]) if each]
        record = msgspec.structs.replace(old, container=container, names=names)
        if aliases is not None and not old.token:
            record = msgspec.structs.replace(record, aliases=[each for each in aliases if each not in names])
        if record == old:
            return True
        if (await store.txn([ModIs(key, kv.mod_revision)], [Put(key, amend(kv.value, record))])).ok:
            return True
    return False
