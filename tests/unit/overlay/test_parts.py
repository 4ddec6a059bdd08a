"""Small parts: MTU, guard rules, state file, member record, netlink messages, underlay addresses."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from swarmproxy.discovery.store import Put
from swarmproxy.model import keys
from swarmproxy.model.records import Member
from swarmproxy.overlay import batch
from swarmproxy.overlay.guard import ruleset
from swarmproxy.overlay.member import nameservers, node_id, register
from swarmproxy.overlay.mtu import overlay_mtu
from swarmproxy.overlay.state import LocalEndpoint, LocalNetwork, State
from swarmproxy.overlay.underlay import address_of
from swarmproxy.overlay.vxlan import mac_for


@pytest.mark.parametrize(
    ("asked", "underlays", "vtep", "expect"),
    [
        (0, [1500, 9000], "10.0.0.1", 1450),
        (0, [9000], "10.0.0.1", 8950),
        (0, [1500], "fd00::1", 1430),
        (0, [], "10.0.0.1", 1450),
        (0, [0, 1500], "10.0.0.1", 1450),
        (1400, [1500], "10.0.0.1", 1400),
        (1, [1500], "10.0.0.1", 1450),
    ],
)
def test_the_overlay_fits_the_smallest_underlay(asked: int, underlays: list[int], vtep: str, expect: int) -> None:
    assert overlay_mtu(asked=asked, underlays=underlays, vtep=vtep) == expect


def test_a_mac_is_made_of_the_address() -> None:
    assert mac_for("10.140.1.2") == "02:42:0a:8c:01:02"
    assert mac_for("fd00::1:2") == "02:42:00:01:00:02"


def test_the_guard_protects_members_and_trusts_the_underlay() -> None:
    rules = ruleset(["192.0.2.2", "192.0.2.1", "fd00::1"], interface="eth0", port=4790)
    assert "elements = { 192.0.2.1, 192.0.2.2 };" in rules
    assert "elements = { fd00::1 };" in rules
    assert 'iifname != "eth0" udp dport 4790 ip daddr @vteps counter drop' in rules
    assert "elements" not in ruleset([], interface="eth0", port=4789)


@pytest.mark.skipif(shutil.which("nft") is None, reason="no nft")
@pytest.mark.parametrize("vteps", [[], ["192.0.2.1", "fd00::1"]])
def test_nft_takes_the_rules(vteps: list[str]) -> None:
    rules = ruleset(vteps, interface="eth0", port=4789)
    checked = subprocess.run(
        ["nft", "-c", "-f", "-"], input=rules, text=True, capture_output=True, timeout=10, check=False
    )
    if "Operation not permitted" in checked.stderr:
        pytest.skip("nft needs privileges")
    assert checked.returncode == 0, checked.stderr


def test_the_state_file_gives_back_what_it_was_given(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert state.load() == ""
    state.networks["n"] = LocalNetwork(nid="nid", vni=7, cidr="10.0.0.0/24", gateway="10.0.0.1", internal=True)
    state.endpoints["e"] = LocalEndpoint(network="n", nid="nid", ip="10.0.0.2", route=True, sandbox="/x")
    state.save()
    again = State(tmp_path)
    assert again.load() == ""
    assert (again.networks, again.endpoints) == (state.networks, state.endpoints)
    assert again.holds("nid", "10.0.0.2")
    assert not again.holds("nid", "10.0.0.3")
    assert again.copies("nid") == ["n"]


def test_a_state_file_that_cannot_be_read_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "overlay.json").write_text('{"networks": 5')
    state = State(tmp_path)
    assert "cannot be read" in state.load()
    assert state.networks == {}
    assert (tmp_path / "overlay.broken").exists()


def test_a_node_keeps_its_id(tmp_path: Path) -> None:
    made = node_id(tmp_path / "state")
    assert len(made) == 24
    assert node_id(tmp_path / "state") == made
    assert node_id(tmp_path / "other") != made


def test_servers_on_the_loopback_are_no_use_to_containers(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\n")
    real.write_text("# upstream\nnameserver 192.0.2.7\nnameserver fe80::1%eth0\nnameserver ::1\nsearch x\n")
    assert nameservers((str(stub), str(real))) == ["192.0.2.7", "fe80::1%eth0"]
    assert nameservers((str(tmp_path / "absent"),)) == []


async def test_registering_again_keeps_what_others_wrote(shared: Any) -> None:
    fresh = Member(id="n9", name="host", address="http://192.0.2.9:2375", labels={"zone": "a"}, vtep="192.0.2.9")
    assert await register(shared.store, fresh, create=False) is None
    await register(shared.store, fresh, create=True)
    raw = b'{"id":"n9","name":"host","labels":{"rack":"7"},"availability":"drain","engine_id":"E","future":1}'
    await shared.store.txn([], [Put(keys.node("n9"), raw)])
    record = await register(shared.store, fresh, create=False)
    assert record is not None
    assert (record.labels, record.availability, record.engine_id) == ({"rack": "7", "zone": "a"}, "drain", "E")
    kv = await shared.store.get(keys.node("n9"))
    assert b'"future":1' in kv.value
    await register(shared.store, fresh, create=False)
    assert (await shared.store.get(keys.node("n9"))).mod_revision == kv.mod_revision  # nothing new, nothing written


def test_forwarding_messages_are_what_the_kernel_reads() -> None:
    message = batch._message(batch.fdb(3, "02:42:0a:00:00:02", "192.0.2.7"), 5)
    length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", message)
    assert (length, kind, sequence) == (len(message), 28, 5)
    assert flags & 0x500 == 0x500
    family, _, _, index, state, ndm_flags, _ = struct.unpack_from("=BBHiHBB", message, 16)
    assert (family, index, state, ndm_flags) == (7, 3, 0xC0, 2)  # NTF_SELF, or the bridge swallows the frames
    assert dict(batch._attributes(message[16:])) == {1: bytes([192, 0, 2, 7]), 2: bytes.fromhex("02420a000002")}


@pytest.mark.parametrize(
    ("advertise", "expect"),
    [
        ("http://192.0.2.1:2375", "192.0.2.1"),
        ("192.0.2.1:2375", "192.0.2.1"),
        ("http://[fd00::1]:2375", "fd00::1"),
        ("", ""),
    ],
)
def test_the_vtep_is_the_advertised_address(advertise: str, expect: str) -> None:
    assert address_of(advertise) == expect
