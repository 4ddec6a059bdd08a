"""The sockets, over the loopback: cluster names, strangers, other people's names, dead hosts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from dnslib import QTYPE, RCODE, RR, A, DNSRecord

from swarmproxy.dns.forward import Forwarder, resolvers
from swarmproxy.dns.liveness import Liveness
from swarmproxy.dns.server import Answerer, Listener
from swarmproxy.dns.zone import Zone
from swarmproxy.model.records import Endpoint


class Upstream(asyncio.DatagramProtocol):
    """A resolver of the outside: knows one name, is silent about another."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = DNSRecord.parse(data)
        if str(query.q.qname) == "silent.example.":
            return
        answer = query.reply()
        answer.add_answer(RR(query.q.qname, QTYPE.A, rdata=A("192.0.2.80"), ttl=60))
        self.transport.sendto(answer.pack(), addr)  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def serving(nid: str, *, upstream: bool = True, ready: bool = True) -> AsyncIterator[tuple[str, int]]:
    loop = asyncio.get_running_loop()
    zone = Zone("me")
    zone.network("f", "front")
    for number in range(2, 42):
        zone.put(
            "f", f"e{number}", Endpoint(ip=f"127.0.9.{number}", names=[f"web-{number}"], aliases=["web"], node="me")
        )
    outside, _ = await loop.create_datagram_endpoint(Upstream, local_addr=("127.0.0.1", 0))
    closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    closed.bind(("127.0.0.1", 0))
    nobody = closed.getsockname()
    closed.close()
    servers = [nobody, outside.get_extra_info("sockname")] if upstream else [nobody]
    listener = Listener(Answerer(nid, zone, Forwarder(servers, deadline=1.0), lambda: ready))
    stream = socket.create_server(("127.0.0.1", 0))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(stream.getsockname())
    for each in (stream, datagrams):
        each.setblocking(False)
    await listener.open(datagrams, stream)
    try:
        yield datagrams.getsockname()
    finally:
        listener.close()
        outside.close()


async def ask(server: tuple[str, int], name: str, kind: str = "A", raw: bytes | None = None) -> DNSRecord:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(server)
        await loop.sock_sendall(sock, raw or DNSRecord.question(name, kind).pack())
        return DNSRecord.parse(await asyncio.wait_for(loop.sock_recv(sock, 4096), 3))


async def ask_by_stream(server: tuple[str, int], name: str) -> DNSRecord:
    reader, writer = await asyncio.open_connection(*server)
    packet = DNSRecord.question(name).pack()
    writer.write(struct.pack("!H", len(packet)) + packet)
    length = struct.unpack("!H", await reader.readexactly(2))[0]
    answer = DNSRecord.parse(await reader.readexactly(length))
    writer.close()
    return answer


async def test_cluster_names_are_answered_and_single_strangers_do_not_exist() -> None:
    async with serving("f") as server:
        known = await ask(server, "WEB-7.front")
        assert [str(rr.rdata) for rr in known.rr] == ["127.0.9.7"]
        assert str(known.q.qname) == "WEB-7.front."
        empty = await ask(server, "web-7", "AAAA")
        assert (empty.header.rcode, empty.header.aa, empty.rr) == (RCODE.NOERROR, 1, [])
        stranger = await ask(server, "nobody")
        assert (stranger.header.rcode, stranger.header.aa) == (RCODE.NXDOMAIN, 1)
        pointer = await ask(server, "7.9.0.127.in-addr.arpa", "PTR")
        assert str(pointer.rr[0].rdata) == "web-7.front."


async def test_many_replicas_come_whole_over_tcp() -> None:
    async with serving("f") as server:
        short = await ask(server, "web")
        assert short.header.tc == 1
        assert 0 < len(short.rr) < 40
        assert len((await ask_by_stream(server, "web")).rr) == 40


async def test_other_names_are_passed_on_past_a_refusing_server() -> None:
    async with serving("f") as server:
        answer = await ask(server, "www.example")
        assert [str(rr.rdata) for rr in answer.rr] == ["192.0.2.80"]


async def test_silence_outside_becomes_servfail() -> None:
    async with serving("f") as server:
        assert (await ask(server, "silent.example")).header.rcode == RCODE.SERVFAIL
    async with serving("f", upstream=False) as server:
        assert (await ask(server, "www.example")).header.rcode == RCODE.SERVFAIL


async def test_the_hosts_socket_knows_no_cluster_name() -> None:
    async with serving("") as server:
        assert (await ask(server, "web-7")).header.rcode == RCODE.NXDOMAIN
        assert [str(rr.rdata) for rr in (await ask(server, "web-7.front")).rr] == ["192.0.2.80"]


async def test_before_the_store_was_read_nothing_is_known_not_to_exist() -> None:
    async with serving("f", ready=False) as server:
        assert (await ask(server, "web-7")).header.rcode == RCODE.SERVFAIL


async def test_garbage_is_refused_and_the_server_lives_on() -> None:
    async with serving("f") as server:
        refused = await ask(server, "", raw=b"\x12\x34\x28\x00" + b"\0" * 8)
        assert (refused.header.id, refused.header.rcode) == (0x1234, RCODE.FORMERR)
        assert (await ask(server, "web-7")).rr


def test_a_host_is_dead_after_the_grace_and_a_store_outage_tells_nothing() -> None:
    hosts = Liveness(grace=10.0)
    hosts.absent("a", 0.0)
    hosts.absent("a", 5.0)  # the first time counts
    assert hosts.due(9.0) == []
    hosts.forgive(9.0)
    assert hosts.due(18.0) == []
    assert hosts.due(19.0) == ["a"]
    assert hosts.due(30.0) == []
    assert hosts.present("a")
    hosts.absent("a", 30.0)
    assert not hosts.present("a")
    assert hosts.due(99.0) == []


@pytest.mark.parametrize(
    ("text", "expect"),
    [("nameserver 127.0.0.53\nnameserver 169.254.215.53\noptions x\nnameserver bad\n", ["127.0.0.53"]), ("", [])],
)
def test_the_hosts_servers_without_ourselves(tmp_path, text: str, expect: list[str]) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "resolv.conf"
    path.write_text(text)
    assert resolvers("169.254.215.53", path) == expect
