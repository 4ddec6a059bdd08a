"""How records become bytes in the store, and back.

Every record is a frozen msgspec Struct with defaults for all fields, so an older or newer writer is readable. `decode`
never raises on what comes from outside: a record that cannot be read is None, and its reader treats it as absent but
occupied. `amend` rewrites a record and keeps the fields that this version does not know, so that a rolling upgrade
loses nothing.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

R = TypeVar("R", bound="Record")


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of everything kept in the store. Unknown fields are ignored on decoding and kept by `amend`."""


def encode(record: Record) -> bytes:
    """The JSON bytes of a record; fields at their defaults are left out."""
    return msgspec.json.encode(record)


def decode(kind: type[R], data: bytes) -> R | None:
    """The record, or None when the bytes are not one."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def amend(old: bytes, record: Record) -> bytes:
    """`record` encoded, plus the fields of `old` that its class does not have."""
    try:
        before: dict[str, Any] = msgspec.json.decode(old, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return encode(record)
    known = {field.encode_name for field in msgspec.structs.fields(record)}
    kept = {key: value for key, value in before.items() if key not in known}
    return msgspec.json.encode(kept | msgspec.to_builtins(record)) if kept else encode(record)
