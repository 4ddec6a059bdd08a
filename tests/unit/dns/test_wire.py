"""Packets, checked by an independent DNS library; nothing that comes in may raise."""

from __future__ import annotations

import random

import pytest
from dnslib import AAAA, EDNS0, QTYPE, RCODE, A, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from swarmproxy.dns import wire


def ask(name: str, kind: str = "A", *, size: int = 0) -> bytes:
    record = DNSRecord.question(name, kind)
    if size:
        record.add_ar(EDNS0(udp_len=size))
    return bytes(record.pack())


def test_an_answer_is_what_another_library_reads() -> None:
    packet = ask("Web.Front")
    question = wire.parse(packet)
    assert question is not None
    assert (question.name, question.kind) == ("web.front", wire.A)
    answer = DNSRecord.parse(
        wire.reply(question, [wire.address_record("10.0.0.2", 2), wire.address_record("10.0.0.3", 2)])
    )
    assert answer.header.id == DNSRecord.parse(packet).header.id
    assert (answer.header.aa, answer.header.ra, answer.header.rd, answer.header.qr) == (1, 1, 1, 1)
    assert str(answer.q.qname) == "Web.Front."  # as it came
    assert [(rr.rdata, rr.ttl, str(rr.rname)) for rr in answer.rr] == [
        (A("10.0.0.2"), 2, "Web.Front."),
        (A("10.0.0.3"), 2, "Web.Front."),
    ]


def test_other_records_and_refusals() -> None:
    six = wire.parse(ask("web", "AAAA"))
    assert six is not None
    assert DNSRecord.parse(wire.reply(six, [wire.address_record("fd00::2", 2)])).rr[0].rdata == AAAA("fd00::2")
    pointer = wire.parse(ask("2.0.0.10.in-addr.arpa", "PTR"))
    assert pointer is not None
    assert str(DNSRecord.parse(wire.reply(pointer, [wire.pointer_record("web.front", 2)])).rr[0].rdata) == "web.front."
    gone = DNSRecord.parse(wire.reply(six, code=wire.NXDOMAIN))
    assert (gone.header.rcode, gone.header.aa, gone.rr) == (RCODE.NXDOMAIN, 1, [])


def test_what_does_not_fit_stays_out_and_is_told() -> None:
    records = [wire.address_record(f"10.0.0.{n}", 2) for n in range(100)]
    plain, extended = wire.parse(ask("web")), wire.parse(ask("web", size=4096))
    assert plain is not None
    assert extended is not None
    short = wire.reply(plain, records, limit=plain.size)
    assert len(short) <= 512
    assert DNSRecord.parse(short).header.tc == 1
    longer = wire.reply(extended, records, limit=extended.size)
    assert 512 < len(longer) <= 1232
    assert DNSRecord.parse(longer).ar[0].rtype == QTYPE.OPT
    whole = DNSRecord.parse(wire.reply(plain, records))
    assert (whole.header.tc, len(whole.rr)) == (0, 100)


@given(st.binary(max_size=64))
def test_garbage_is_no_question(packet: bytes) -> None:
    wire.parse(packet)
    answer = wire.refusal(packet)
    assert answer is None or (answer[:2] == packet[:2] and answer[2] & 0x80)


@given(st.integers(0, 2**32))
def test_a_damaged_question_never_raises(seed: int) -> None:
    rng = random.Random(seed)
    packet = bytearray(ask("some.longer.name.example", size=1232))
    for _ in range(3):
        packet[rng.randrange(len(packet))] = rng.randrange(256)
    del packet[rng.randrange(len(packet)) :]
    question = wire.parse(bytes(packet))
    if question is not None:
        assert packet.find(question.raw) == 12


@pytest.mark.parametrize(
    ("name", "expect"),
    [
        ("2.1.0.10.in-addr.arpa", "10.0.1.2"),
        ("1.0.10.in-addr.arpa", None),
        ("x.1.0.10.in-addr.arpa", None),
        ("2" + ".0" * 29 + ".f.ip6.arpa", None),
        ("2." + "0." * 28 + "0.d.f.ip6.arpa", "fd00::2"),
    ],
)
def test_reverse_names(name: str, expect: str | None) -> None:
    assert wire.reverse_address(name) == expect
