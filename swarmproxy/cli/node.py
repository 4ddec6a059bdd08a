"""`swarmproxy node ls|rm|update`: the members of a cluster, as the store has them."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import msgspec

from swarmproxy.discovery.open import open_discovery
from swarmproxy.discovery.store import KV, Delete, ModIs, Op, Put, Store, StoreError
from swarmproxy.model import codec, keys
from swarmproxy.model.records import Member

SUMMARY = "list, change and remove members"

BATCH = 100
AVAILABILITY = ("active", "pause", "drain")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action", required=True)
    for action, summary in (("ls", "list members"), ("rm", "remove a member"), ("update", "change a member")):
        sub = verbs.add_parser(action, help=summary)
        sub.add_argument("--discovery", required=True, metavar="URL", help="etcd://h1,h2/prefix")
        sub.add_argument("--insecure", action="store_true", help="allow plain text to the store beyond this host")
        if action != "ls":
            sub.add_argument("node", help="name or id")
        if action == "update":
            sub.add_argument("--availability", choices=AVAILABILITY)
            sub.add_argument("--label-add", action="append", default=[], metavar="K=V")
            sub.add_argument("--label-rm", action="append", default=[], metavar="K")


async def members(store: Store) -> list[tuple[KV, Member]]:
    _, found = await store.list(keys.NODES)
    return [(kv, member) for kv in found if (member := codec.decode(Member, kv.value)) is not None]


async def pick(store: Store, reference: str) -> tuple[KV, Member]:
    """Raises ValueError when there is none, or more than one of that name."""
    found = [(kv, member) for kv, member in await members(store) if reference in (member.id, member.name)]
    if len(found) != 1:
        raise ValueError(f"{len(found)} members are called {reference}" if found else f"no such member: {reference}")
    return found[0]


async def remove(store: Store, reference: str) -> Member:
    """The member and its claims go; what else belongs to it is swept by the proxies."""
    kv, member = await pick(store, reference)
    if await store.get(keys.agent(member.id)) is not None:
        raise ValueError(f"the agent of {member.name} is running: stop it first, or it registers again")
    if not (await store.txn([ModIs(kv.key, kv.mod_revision)], [Delete(kv.key)])).ok:
        raise ValueError(f"{member.name} was changed at the same time, try again")
    _, allocs = await store.list(keys.allocs(member.id))
    _, names = await store.list(keys.NAMES)
    ours = [one.key for one in names if (value := msgspec.json.decode(one.value)).get("node") == member.id and value]
    doomed: list[Op] = [Delete(key) for key in (*(one.key for one in allocs), *ours)]
    for start in range(0, len(doomed), BATCH):
        await store.txn([], doomed[start : start + BATCH])
    return member


async def change(store: Store, args: argparse.Namespace) -> Member:
    kv, member = await pick(store, args.node)
    labels = dict(member.labels)
    for text in args.label_add:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"{text!r} is not KEY=VALUE")
        labels[key] = value
    for key in args.label_rm:
        labels.pop(key, None)
    changed = msgspec.structs.replace(member, labels=labels, availability=args.availability or member.availability)
    if not (await store.txn([ModIs(kv.key, kv.mod_revision)], [Put(kv.key, codec.amend(kv.value, changed))])).ok:
        raise ValueError(f"{member.name} was changed at the same time, try again")
    return changed


async def act(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        discovery = await open_discovery(args.discovery, state=Path(scratch), insecure=args.insecure)
        try:
            if discovery.kind != "etcd":
                raise ValueError("members of a list are changed in the list")
            await _act(discovery.store, args)
        finally:
            await discovery.close()


async def _act(store: Store, args: argparse.Namespace) -> None:
    if args.action == "rm":
        print((await remove(store, args.node)).name)
    elif args.action == "update":
        print((await change(store, args)).name)
    else:
        _, agents = await store.list(keys.AGENTS)
        alive = {keys.parts(kv.key)[1] for kv in agents}
        print(f"{'ID':34}{'NAME':16}{'ADDRESS':32}{'AGENT':8}AVAILABILITY")
        for _, member in await members(store):
            agent = "alive" if member.id in alive else "lost"
            print(f"{member.id:34}{member.name:16}{member.address:32}{agent:8}{member.availability}")


def run(args: argparse.Namespace) -> int:
    try:
        asyncio.run(act(args))
    except (StoreError, ValueError) as error:
        print(f"swarmproxy node: {error}", file=sys.stderr)
        return 1
    return 0
