"""Members from a list: `nodes://h1:2375,10.0.0.[1:20]:2375`, a file, or the local engine alone.

An entry is an address, in a file with options behind it:

    10.0.0.[1:20]:2375                      # a range: 20 members
    https://db.example:2376  name=db  label.disk=ssd  label.zone=b

The list becomes `nodes/` records with source "static"; who leaves the list leaves the store. A member's id is derived
from its address, so it is the same on every start and in every proxy. The list owns address, name and labels; what
others write into a record (availability, engine id) stays. Without `name=` the engine's own name counts.

A file is looked at once a second and read again when its time or size has changed. A file that cannot be read, or holds
an error, changes nothing: the last good list stands, one line in the log says so.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from swarmproxy.discovery.store import Compare, Delete, ModIs, Op, Put, Store, StoreError
from swarmproxy.model import codec, keys
from swarmproxy.model.records import Member

__all__ = ["STATIC", "MemberFile", "expand", "member_id", "read_entries", "sync"]

logger = logging.getLogger(__name__)

STATIC = "static"
"""`Member.source` of what a list owns."""
MOST = 10_000
"""Members that one entry may stand for."""
INTERVAL = 1.0
"""Seconds between two looks at a file."""
CHUNK = 60
"""Records written in one transaction."""

_HOST = re.compile(r"\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]@]+")
_RANGE = re.compile(r"\[(\d+):(\d+)\]")
_PORTS = {"http": 2375, "https": 2376}
_SCHEMES = ("http", "https", "unix", "relay", "ssh")


def member_id(address: str) -> str:
    """16 hex digits, stable for an address."""
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def expand(pattern: str) -> list[str]:
    """`a[1:3]b` → a1b, a2b, a3b; several ranges multiply; a leading zero keeps the width. Raises ValueError."""
    found = _RANGE.search(pattern)
    if found is None:
        return [pattern]
    first, last = found.groups()
    if int(first) > int(last):
        raise ValueError(f"{pattern}: the range {found.group()} ends before it begins")
    tails = expand(pattern[found.end() :])
    if (int(last) - int(first) + 1) * len(tails) > MOST:
        raise ValueError(f"{pattern}: more than {MOST} members")
    width = len(first) if first.startswith("0") else 0
    head = pattern[: found.start()]
    return [f"{head}{number:0{width}}{tail}" for number in range(int(first), int(last) + 1) for tail in tails]


def read_entries(entries: Iterable[str], *, scheme: str = "http") -> list[Member]:
    """The members that entries stand for, in order, each address once.

    Args:
        scheme: for addresses without one ("http", or "https" when engines are reached over TLS).

    Raises:
        ValueError: an entry that cannot be read, with the entry in the text.
    """
    members: dict[str, Member] = {}
    for entry in entries:
        words = entry.partition("#")[0].split()
        if words:
            for member in _members(words, scheme):
                members.setdefault(member.id, member)
    return list(members.values())


def _members(words: Sequence[str], scheme: str) -> list[Member]:
    name = ""
    labels: dict[str, str] = {}
    for word in words[1:]:
        option, equals, value = word.partition("=")
        if option == "name" and value:
            name = value
        elif option.startswith("label.") and option != "label." and equals:
            labels[option.removeprefix("label.")] = value
        else:
            raise ValueError(f"{' '.join(words)}: {word} is neither name=… nor label.KEY=VALUE")
    addresses = [_address(address, scheme) for address in expand(words[0])]
    if name and len(addresses) > 1:
        raise ValueError(f"{' '.join(words)}: one name for {len(addresses)} members")
    return [
        Member(id=member_id(address), name=name, address=address, labels=labels, source=STATIC) for address in addresses
    ]


def _address(text: str, scheme: str) -> str:
    given, separator, rest = text.partition("://")
    if not separator:
        given, rest = scheme, text
    given = scheme if given == "tcp" else given
    if given not in _SCHEMES:
        raise ValueError(f"{text}: not an engine's address")
    if given not in _PORTS:
        if not rest:
            raise ValueError(f"{text}: not an engine's address")
        return f"{given}://{rest}"
    rest = rest.rstrip("/")
    host, port = rest, str(_PORTS[given])
    if rest.count(":") == 1 or "]:" in rest:
        host, _, port = rest.rpartition(":")
    if not _HOST.fullmatch(host) or not (port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text}: not host:port")
    return f"{given}://{host.lower()}:{port}"


async def sync(store: Store, members: Sequence[Member]) -> None:
    """Makes the store's static members those of the list. Raises StoreError."""
    for _ in range(10):
        if await _once(store, members):
            return
    raise StoreError("the members' records change faster than they can be written")


async def _once(store: Store, members: Sequence[Member]) -> bool:
    _, found = await store.list(keys.NODES)
    held = {kv.key: kv for kv in found}
    changes: list[tuple[Compare, Op]] = []
    for member in members:
        key = keys.node(member.id)
        kv = held.pop(key, None)
        if kv is None:
            changes.append((ModIs(key, 0), Put(key, codec.encode(member))))
            continue
        old = codec.decode(Member, kv.value)
        new = member if old is None else _updated(old, member)
        if new != old:
            changes.append((ModIs(key, kv.mod_revision), Put(key, codec.amend(kv.value, new))))
    for key, kv in held.items():
        old = codec.decode(Member, kv.value)
        if old is not None and old.source == STATIC:
            changes.append((ModIs(key, kv.mod_revision), Delete(key)))
    for first in range(0, len(changes), CHUNK):
        part = changes[first : first + CHUNK]
        if not (await store.txn([compare for compare, _ in part], [op for _, op in part])).ok:
            return False
    return True


def _updated(old: Member, listed: Member) -> Member:
    name = listed.name or old.name
    return msgspec.structs.replace(old, name=name, address=listed.address, labels=listed.labels, source=STATIC)


class MemberFile:
    """A list in a file, and its changes.

    Args:
        scheme: see `read_entries`.
    """

    def __init__(self, path: Path, *, scheme: str = "http") -> None:
        self.path = path
        self._scheme = scheme
        self._seen: tuple[int, int, int] | None = None
        self._complained = ""

    def read(self) -> list[Member]:
        """The list as it is. Raises OSError or ValueError."""
        self._seen = self._stamp()
        return read_entries(self.path.read_text().splitlines(), scheme=self._scheme)

    def changed(self) -> list[Member] | None:
        """The new list when the file has changed since it was last read and can be read, else None."""
        try:
            if self._stamp() == self._seen and not self._complained:
                return None
            members = self.read()
        except (OSError, ValueError) as error:
            self._complain(str(error))
            return None
        self._complain("")
        return members

    async def run(self, store: Store) -> None:
        """Keeps the store's static members as the file says, for ever."""
        behind: list[Member] | None = None
        failed = False
        while True:
            await asyncio.sleep(INTERVAL)
            if (members := self.changed()) is not None:
                behind = members
            if behind is None:
                continue
            try:
                await sync(store, behind)
            except StoreError as error:
                if not failed:
                    logger.warning("%s: the members cannot be written: %s", self.path, error)
                failed = True
            else:
                logger.info("%s: %d members", self.path, len(behind))
                behind, failed = None, False

    def _stamp(self) -> tuple[int, int, int]:
        stat = self.path.stat()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _complain(self, text: str) -> None:
        if text and text != self._complained:
            logger.warning("%s: %s; the members stay as they were", self.path, text)
        elif self._complained and not text:
            logger.info("%s: readable again", self.path)
        self._complained = text
