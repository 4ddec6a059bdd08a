"""DNS packets: the question out, the answer in.

Only what a resolver of containers meets: one question, class IN. Parsing by hand costs 3 µs where a library's object
tree costs 150, and most queries are answered from prebuilt records. A packet that is not a question never raises.
The question's bytes go back as they came: clients that vary the case of a name compare it.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from dnslib import DNSBuffer, DNSError, DNSLabel

__all__ = ["Question", "address_record", "parse", "pointer_record", "refusal", "reply", "reverse_address"]

A, PTR, AAAA, ANY, OPT = 1, 12, 28, 255, 41
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
PLAIN = 512
"""Bytes of a UDP answer to a client that says nothing about it."""
LARGEST = 1232
"""Bytes of a UDP answer to one that allows more: fits every path without fragments."""

_HEAD = struct.Struct("!HHHHHH")
_TAIL = struct.Struct("!HH")
_RECORD = struct.Struct("!HHHIH")
_POINTER = 0xC00C
"""A compressed name: the question's, which always stands at byte 12."""
_OPT = b"\0" + struct.pack("!HHIH", OPT, LARGEST, 0, 0)


@dataclass(frozen=True, slots=True)
class Question:
    id: int
    recursion: bool
    """The client asked for it; comes back as it came."""
    name: str
    """Lower case, without the last dot."""
    kind: int
    raw: bytes
    """Name, type and class as they came."""
    size: int
    """Bytes that an answer over UDP may have."""
    extended: bool
    """The client speaks EDNS."""


def parse(packet: bytes) -> Question | None:
    """The one question of a standard query; None for anything else."""
    if len(packet) < 17:
        return None
    number, flags, questions, answers, authorities, additional = _HEAD.unpack_from(packet)
    if flags & 0xF800 or questions != 1 or answers or authorities:
        return None
    labels = []
    at = 12
    while at < len(packet) and (length := packet[at]):
        if length > 63 or at - 12 + length > 254 or at + 1 + length > len(packet):
            return None
        labels.append(packet[at + 1 : at + 1 + length])
        at += 1 + length
    at += 1
    if at + 4 > len(packet):
        return None
    kind, kind_class = _TAIL.unpack_from(packet, at)
    if kind_class not in (IN, ANY):
        return None
    name = b".".join(labels).lower().decode("ascii", "replace")
    end = at + 4
    size, extended = _edns(packet, end) if additional else (PLAIN, False)
    return Question(number, bool(flags & 0x0100), name, kind, packet[12:end], size, extended)


def _edns(packet: bytes, at: int) -> tuple[int, bool]:
    """The client's UDP size, when its first additional record is an OPT."""
    if len(packet) >= at + 11 and packet[at] == 0:
        kind, size = _TAIL.unpack_from(packet, at + 1)
        if kind == OPT:
            return min(max(size, PLAIN), LARGEST), True
    return PLAIN, False


def reply(
    question: Question,
    answers: Sequence[bytes] = (),
    *,
    code: int = NOERROR,
    authoritative: bool = True,
    limit: int = 0,
) -> bytes:
    """An answer. `limit` in bytes, 0 = none (TCP): records that do not fit stay out, and the answer says so."""
    tail = _OPT if question.extended else b""
    room = (limit - 12 - len(question.raw) - len(tail)) if limit else 0
    kept, used = [], 0
    for record in answers:
        used += len(record)
        if limit and used > room:
            break
        kept.append(record)
    flags = 0x8080 | code | (0x0400 if authoritative else 0) | (0x0100 if question.recursion else 0)
    if len(kept) < len(answers):
        flags |= 0x0200
    head = _HEAD.pack(question.id, flags, 1, len(kept), 0, 1 if tail else 0)
    return b"".join((head, question.raw, *kept, tail))


def refusal(packet: bytes, code: int = FORMERR) -> bytes | None:
    """The answer to what is not a question we take; None when it is not even a query."""
    if len(packet) < 12 or packet[2] & 0x80:
        return None
    opcode = packet[2] & 0x79
    return packet[:2] + bytes((0x80 | opcode, 0x80 | code)) + b"\0" * 8


def address_record(ip: str, ttl: int) -> bytes:
    """An A or AAAA record of the question's name."""
    packed = ipaddress.ip_address(ip).packed
    return _RECORD.pack(_POINTER, A if len(packed) == 4 else AAAA, IN, ttl, len(packed)) + packed


def pointer_record(name: str, ttl: int) -> bytes:
    """A PTR record of the question's name. Raises ValueError when `name` is no DNS name."""
    buffer = DNSBuffer()
    try:
        buffer.encode_name_nocompress(DNSLabel(name))
    except (DNSError, UnicodeError) as error:
        raise ValueError(f"{name!r}: {error}") from None
    return _RECORD.pack(_POINTER, PTR, IN, ttl, len(buffer.data)) + bytes(buffer.data)


def reverse_address(name: str) -> str | None:
    """The address that a reverse name asks for: 2.1.0.10.in-addr.arpa → 10.0.1.2; None when it is not one."""
    try:
        if name.endswith(".in-addr.arpa"):
            parts = name.removesuffix(".in-addr.arpa").split(".")
            return str(ipaddress.IPv4Address(".".join(reversed(parts))))
        if name.endswith(".ip6.arpa"):
            digits = "".join(reversed(name.removesuffix(".ip6.arpa").split(".")))
            if len(digits) == 32:
                return str(ipaddress.IPv6Address(int(digits, 16)))
    except ValueError:
        pass
    return None
