"""The name server that knows nothing."""

from __future__ import annotations

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproxy.lab.resolver import refuse


@pytest.mark.parametrize("kind", ["A", "AAAA", "PTR"])
def test_every_name_is_unknown(kind: str) -> None:
    query = dnslib.DNSRecord.question("registry.example.org", kind)
    answer = refuse(query.pack())
    assert answer is not None
    parsed = dnslib.DNSRecord.parse(answer)
    assert dnslib.RCODE.get(parsed.header.rcode) == "NXDOMAIN"
    assert (parsed.header.id, parsed.header.qr, parsed.header.ra, parsed.header.rd) == (query.header.id, 1, 1, 1)
    assert parsed.questions == query.questions
    assert not parsed.rr


def test_extensions_are_left_out() -> None:
    query = dnslib.DNSRecord.question("x.example")
    query.add_ar(dnslib.EDNS0(udp_len=4096))
    answer = refuse(query.pack())
    assert answer is not None
    assert dnslib.DNSRecord.parse(answer).ar == []


def test_answers_are_not_answered() -> None:
    assert refuse(dnslib.DNSRecord.question("x.example").reply().pack()) is None


@given(st.binary(max_size=80))
def test_garbage_is_survived(data: bytes) -> None:
    answer = refuse(data)
    assert answer is None or answer[:2] == data[:2]
