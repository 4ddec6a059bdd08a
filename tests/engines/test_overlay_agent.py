"""Agents between stock engines of two versions, driven by the plain docker command against each engine.

Needs root and a lab of its own (some 4 s). Truth is taken from containers, kernel and store, not from the agents.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarmproxy.discovery.etcd import EtcdStore
from swarmproxy.discovery.store import KV, Delete, Put
from swarmproxy.lab import Lab, processes
from swarmproxy.lab.command import tail
from swarmproxy.model import keys
from swarmproxy.model.codec import decode, encode
from swarmproxy.model.options import DNS_ADDRESS
from swarmproxy.model.records import Endpoint, Network, Subnet

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.timeout(180),
]

OLD, NEW = 1, 3
"""Every third node runs the newer engine."""
ETCD: list[str] = []
"""The lab's, host:port."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab(name="ovag", nodes=3, cluster=False)
    try:
        made.up()
        ETCD[:] = [made.etcd_url.removeprefix("etcd://").partition("/")[0]]
        for node in (OLD, NEW):
            made.start_agent(node)
            made.node(node).await_plugin()
        yield made
    finally:
        made.down()


def docker(lab: Lab, node: int, *words: str, ok: bool = True, seconds: float = 60) -> str:
    env = {**os.environ, **lab.node_env(node)}
    done = subprocess.run(["docker", *words], env=env, capture_output=True, text=True, timeout=seconds, check=False)
    if (done.returncode == 0) != ok:
        logs = [f"--- {log}\n{tail(log, 15)}" for log in (lab.node(node).agent_log, lab.node(node).engine_log)]
        raise AssertionError("\n".join([f"docker {' '.join(words)}: {done.stdout}{done.stderr}", *logs]))
    return done.stdout + done.stderr


def stored(prefix: str) -> list[KV]:
    async def read() -> list[KV]:
        store = EtcdStore(ETCD)
        try:
            return (await store.list(prefix))[1]
        finally:
            await store.close()

    return asyncio.run(read())


def write(*ops: Put | Delete) -> None:
    async def send() -> None:
        store = EtcdStore(ETCD)
        try:
            await store.txn([], ops)
        finally:
            await store.close()

    asyncio.run(send())


def until(condition: Callable[[], object], what: str, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not in {seconds:g} s: {what}"
        time.sleep(0.1)


class Overlay:
    """A cluster network as the proxy would make it: its record, and a copy on each engine."""

    def __init__(self, lab: Lab, name: str, number: int, *, internal: bool = False, ipv6: bool = False) -> None:
        self.lab, self.name = lab, name
        self.nid = hashlib.sha256(name.encode()).hexdigest()
        self.vni = 0x200000 + number
        subnets = [Subnet(cidr=f"10.150.{number}.0/24", gateway=f"10.150.{number}.1")]
        if ipv6:
            subnets.append(Subnet(cidr=f"fd15:{number}::/64", gateway=f"fd15:{number}::1"))
        write(Put(keys.network(self.nid), encode(Network(id=self.nid, name=name, vni=self.vni, subnets=subnets))))
        pools = [word for each in subnets for word in ("--subnet", each.cidr, "--gateway", each.gateway)]
        more = [*(["--internal"] if internal else []), *(["--ipv6"] if ipv6 else [])]
        try:
            for node in (OLD, NEW):
                docker(lab, node, "network", "create", "-d", "swarmproxy", "--ipam-driver", "swarmproxy", "--ipam-opt",
                       f"swp.id={self.nid}", "-o", f"swp.id={self.nid}", "-o", f"swp.vni={self.vni}", *pools, *more,
                       name)  # fmt: skip
        except BaseException:
            self.end()  # or the next test would meet it
            raise

    def run(self, node: int, name: str, *words: str, alias: str = "", ok: bool = True) -> str:
        marks = [f"name={self.name}", f"driver-opt=swp.name={name}", f"driver-opt=swp.token=t-{name}"]
        if alias:
            marks.append('"driver-opt=swp.aliases=' + json.dumps([alias]).replace('"', '""') + '"')
        return docker(self.lab, node, "run", "-d", "--init", "--name", name, "--dns", DNS_ADDRESS, "--network",
                      ",".join(marks), *words, "busybox", "sleep", "1000", ok=ok)  # fmt: skip

    def endpoints(self) -> list[Endpoint]:
        return [each for kv in stored(keys.endpoints(self.nid)) if (each := decode(Endpoint, kv.value))]

    def gone(self) -> bool:
        left = [
            copy
            for node in (OLD, NEW)
            for copy in docker(self.lab, node, "network", "ls", "-q", "-f", f"name={self.name}").split()
        ]
        return not left

    def end(self) -> None:
        """Containers, then the record; the agents remove the engines' copies."""
        for node in (OLD, NEW):
            if found := docker(self.lab, node, "ps", "-aq").split():
                docker(self.lab, node, "rm", "-f", *found)
        write(Delete(keys.network(self.nid)))
        until(self.gone, f"{self.name} removed from the engines")


def says(lab: Lab, node: int, container: str, *words: str, ok: bool = True) -> str:
    return docker(lab, node, "exec", container, *words, ok=ok)


def addresses(lab: Lab, node: int, container: str, name: str) -> set[str]:
    """What a container's own resolver finds."""
    env = {**os.environ, **lab.node_env(node)}
    done = subprocess.run(["docker", "exec", container, "nslookup", "-type=a", name], env=env, capture_output=True,
                          text=True, timeout=30, check=False)  # fmt: skip
    lines = done.stdout.partition("Name:")[2].splitlines()
    return {line.split()[-1] for line in lines if line.startswith("Address")}


def ping(lab: Lab, node: int, container: str, target: str) -> None:
    says(lab, node, container, "ping", "-c", "1", "-W", "2", target)


@pytest.fixture
def overlay(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Overlay]:
    made = Overlay(lab, "front", 1)
    yield made
    made.end()


def test_containers_reach_each_other_by_name_between_versions_and_leave_nothing(lab: Lab, overlay: Overlay) -> None:
    versions = {lab.node(node).version() for node in (OLD, NEW)}
    assert len(versions) == 2
    for node, name in ((OLD, "aa"), (NEW, "bb")):
        overlay.run(node, name, alias="web")
    for node, name, other in ((OLD, "aa", "bb"), (NEW, "bb", "aa")):
        ping(lab, node, name, other)
        ping(lab, node, name, f"{other}.front")
        assert len(addresses(lab, node, name, "web")) == 2
        assert addresses(lab, node, name, "nobody") == set()
    says(lab, OLD, "aa", "ping", "-c", "1", "-W", "2", "-s", "1422", "bb")  # a full packet of 1450
    docker(lab, OLD, "exec", "-d", "aa", "sh", "-c", "echo across | nc -l -p 9000")
    until(lambda: "9000" in says(lab, OLD, "aa", "netstat", "-ltn"), "listener")
    assert "across" in says(lab, NEW, "bb", "sh", "-c", "timeout 5 nc aa 9000 </dev/null")
    for node, name in ((OLD, "aa"), (NEW, "bb")):
        docker(lab, node, "rm", "-f", name)
    assert stored(keys.IPAM) == stored(keys.endpoints(overlay.nid)) == []
    for node in (OLD, NEW):
        assert "swc" not in lab.exec(node, ["ip", "link"]).stdout
        assert (
            "swb" not in lab.exec(node, ["nsenter", f"--net=/run/swarmproxy/netns/{overlay.vni}", "ip", "link"]).stdout
        )


def test_restart_rename_connect_and_disconnect(lab: Lab, overlay: Overlay) -> None:
    back = Overlay(lab, "back", 2)
    for node, name in ((OLD, "aa"), (NEW, "bb")):
        overlay.run(node, name)
    docker(lab, OLD, "restart", "-t", "0", "aa")
    ping(lab, NEW, "bb", "aa")
    docker(lab, OLD, "rename", "aa", "cc")
    until(lambda: addresses(lab, NEW, "bb", "cc"), "the new name")
    assert addresses(lab, NEW, "bb", "aa") == set()
    for node, name in ((OLD, "cc"), (NEW, "bb")):
        docker(lab, node, "network", "connect", "back", name)
    until(lambda: len(addresses(lab, NEW, "bb", "cc")) == 2, "names of the second network")
    docker(lab, NEW, "network", "disconnect", "front", "bb")  # it carried the way to DNS
    assert addresses(lab, NEW, "bb", "cc") == {each.ip for each in back.endpoints() if "cc" in each.names}
    ping(lab, NEW, "bb", "cc")
    docker(lab, NEW, "network", "connect", "front", "bb")
    until(lambda: len(addresses(lab, NEW, "bb", "cc")) == 2, "names of both again")
    back.end()


def test_an_address_is_unique_across_engines(lab: Lab, overlay: Overlay) -> None:
    docker(
        lab,
        OLD,
        "run",
        "-d",
        "--init",
        "--name",
        "aa",
        "--network",
        "front",
        "--ip",
        "10.150.1.50",
        "busybox",
        "sleep",
        "99",
    )
    for asked in ("10.150.1.50", "10.150.1.1"):
        refused = docker(lab, NEW, "run", "--rm", "--network", "front", "--ip", asked, "busybox", "true", ok=False)
        assert "Address already in use" in refused
    docker(lab, OLD, "stop", "-t", "0", "aa")
    docker(lab, NEW, "run", "--rm", "--network", "front", "--ip", "10.150.1.50", "busybox", "true")


def test_ipv6_and_internal_networks(lab: Lab) -> None:
    inner = Overlay(lab, "inner", 3, internal=True, ipv6=True)
    for node, name in ((OLD, "aa"), (NEW, "bb")):
        inner.run(node, name)
    for record in inner.endpoints():
        node, name = (NEW, "bb") if "aa" in record.names else (OLD, "aa")
        ping(lab, node, name, record.ip6)
    ping(lab, OLD, "aa", "bb")
    assert "default" not in says(lab, OLD, "aa", "ip", "route")
    inner.end()


def test_a_killed_agent_costs_no_traffic_and_its_successor_cleans_up(lab: Lab, overlay: Overlay) -> None:
    for node, name in ((OLD, "aa"), (OLD, "leaked"), (NEW, "bb")):
        overlay.run(node, name)
    there = next(each.ip for each in overlay.endpoints() if "aa" in each.names)
    lab.kill(OLD, "agent")
    ping(lab, NEW, "bb", there)
    env = {**os.environ, **lab.node_env(OLD)}
    removal = subprocess.Popen(["docker", "rm", "-f", "leaked"], env=env, stdout=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        removal.wait(2)  # the engine waits for the plugin
    lab.start_agent(OLD)
    lab.node(OLD).await_plugin()
    removal.wait(90)
    ping(lab, NEW, "bb", "aa")
    overlay.run(OLD, "again")
    ping(lab, NEW, "bb", "again")
    until(lambda: len(overlay.endpoints()) == 3, "the leaked endpoint is gone", 90)
    assert len(stored(keys.IPAM)) == 3


def test_a_killed_engine_starts_its_containers_on_the_overlay_again(lab: Lab, overlay: Overlay) -> None:
    for node, name in ((OLD, "aa"), (NEW, "bb")):
        overlay.run(node, name, "--restart", "always")
    for node, other, name in ((OLD, NEW, "aa"), (NEW, OLD, "bb")):
        lab.kill(node, "engine")
        lab.start_engine(node)
        until(lambda node=node, name=name: name in docker(lab, node, "ps", "--format", "{{.Names}}").split(), name, 60)  # type: ignore[misc]
        until(
            lambda other=other, name=name: addresses(lab, other, "bb" if name == "aa" else "aa", name),
            f"{name} found",
            20,
        )  # type: ignore[misc]
        ping(lab, other, "bb" if name == "aa" else "aa", name)
    assert len(stored(keys.IPAM)) == 2


def test_vxlan_made_by_a_container_is_not_forwarded(lab: Lab, overlay: Overlay) -> None:
    overlay.run(OLD, "aa")
    sandbox = docker(lab, OLD, "inspect", "-f", "{{.NetworkSettings.SandboxKey}}", "aa").strip()
    for target in (lab.node(NEW).address, lab.node(OLD).address):
        send = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'frame', ('{target}', 4789))"
        lab.exec(OLD, ["nsenter", f"--net={sandbox}", sys.executable, "-c", send])
    listed = json.loads(lab.exec(OLD, ["nft", "-j", "list", "table", "inet", "swarmproxy"]).stdout)
    dropped = {
        rule["rule"]["chain"]: part["counter"]["packets"]
        for rule in listed["nftables"] if "rule" in rule
        for part in rule["rule"]["expr"] if "counter" in part and part["counter"]["packets"]
    }  # fmt: skip
    assert dropped.keys() == {"guard_forward", "guard_input"}


def test_a_dead_agents_names_leave_and_come_back(lab: Lab, overlay: Overlay) -> None:
    for node, name in ((OLD, "aa"), (NEW, "bb")):
        overlay.run(node, name)
    assert addresses(lab, NEW, "bb", "aa")
    lab.kill(OLD, "agent")
    until(lambda: not addresses(lab, NEW, "bb", "aa"), "the name left", 30)
    lab.start_agent(OLD)
    until(lambda: addresses(lab, NEW, "bb", "aa"), "the name is back", 10)
    lab.node(OLD).await_plugin()


def test_a_lost_state_file_and_lost_records_are_made_again_from_the_engine(lab: Lab, overlay: Overlay) -> None:
    for node, name in ((OLD, "aa"), (NEW, "bb")):
        overlay.run(node, name, alias="web")
    lab.kill(NEW, "agent")
    (lab.node(NEW).folder / "agent" / "overlay.json").unlink()
    write(*(Delete(kv.key) for kv in (*stored(keys.endpoints(overlay.nid)), *stored(keys.IPAM))))
    lab.start_agent(NEW)
    lab.node(NEW).await_plugin()
    until(lambda: addresses(lab, OLD, "aa", "bb"), "the endpoint of the agent that lost everything")
    until(lambda: len(addresses(lab, NEW, "bb", "web")) == 2, "both records")
    ping(lab, OLD, "aa", "bb")
    docker(lab, NEW, "restart", "-t", "0", "bb")
    ping(lab, OLD, "aa", "bb")
    assert len(stored(keys.IPAM)) == 2


def test_without_the_store_traffic_and_names_go_on(lab: Lab, overlay: Overlay) -> None:
    for node, name in ((OLD, "aa"), (OLD, "short"), (NEW, "bb")):
        overlay.run(node, name)
    lab.kill("etcd")
    try:
        ping(lab, NEW, "bb", "aa")
        until(lambda: "store lost" in lab.node(OLD).agent_log.read_text(), "the agent knows")
        began = time.monotonic()
        docker(lab, OLD, "stop", "-t", "0", "short")
        refused = overlay.run(OLD, "more", ok=False)
        assert "store" in refused
        assert time.monotonic() - began < 5
        there = next(iter(addresses(lab, NEW, "bb", "aa")))
        lab.kill(NEW, "agent")
        lab.start_agent(NEW)
        lab.node(NEW).await_plugin()
        ping(lab, NEW, "bb", there)  # what its predecessor left in the kernel is kept
    finally:
        lab.start_etcd()
    until(lambda: addresses(lab, NEW, "bb", "aa"), "names after the outage", 20)
    assert addresses(lab, NEW, "bb", "nobody") == set()
    until(
        lambda: len(stored(keys.IPAM)) == len(overlay.endpoints()) == 2, "what was stopped meanwhile is given back", 40
    )


def test_a_host_that_lost_power_comes_back_with_its_networks(lab: Lab, overlay: Overlay) -> None:
    for node, name in ((OLD, "aa"), (NEW, "bb")):
        overlay.run(node, name, "--restart", "always")
    lab.kill(NEW)
    lab.node(NEW).power_on()
    lab.start_agent(NEW)
    lab.node(NEW).await_plugin()
    lab.start_engine(NEW)
    until(lambda: "bb" in docker(lab, NEW, "ps", "--format", "{{.Names}}").split(), "bb runs", 30)
    until(lambda: len(addresses(lab, OLD, "aa", "bb")) == 1, "one bb is known", 30)
    ping(lab, OLD, "aa", "bb")
    ping(lab, NEW, "bb", "aa")
    until(lambda: len(stored(keys.IPAM)) == len(overlay.endpoints()) == 2, "no leftovers", 40)


def test_a_stopped_agent_says_so_and_leaves_the_devices(lab: Lab, overlay: Overlay) -> None:
    for node, name in ((OLD, "aa"), (NEW, "bb")):
        overlay.run(node, name)
    there = next(iter(addresses(lab, NEW, "bb", "aa")))
    before = len(stored(keys.AGENTS))
    processes.send(processes.pids(lab.node(OLD).unit, "agent"), signal.SIGTERM)
    until(lambda: len(stored(keys.AGENTS)) == before - 1, "the lease is given up", 3)
    until(lambda: not processes.pids(lab.node(OLD).unit, "agent"), "the process ends", 3)
    assert not lab.node(OLD).has_plugin()
    ping(lab, NEW, "bb", there)
    lab.start_agent(OLD)
    lab.node(OLD).await_plugin()
    ping(lab, NEW, "bb", "aa")
    assert "rror" not in lab.node(OLD).agent_log.read_text().rpartition("serves")[2]


def test_a_node_that_leaves_takes_everything_along(lab: Lab) -> None:
    for node in (OLD, NEW):
        if found := docker(lab, node, "ps", "-aq").split():
            docker(lab, node, "rm", "-f", *found)
    lab.kill(OLD, "agent")
    url, folder = lab.etcd_url, str(lab.node(OLD).folder / "agent")
    words = ["join", url, "--insecure", "--advertise", lab.node(OLD).http_url, "--state", folder, "--leave"]
    lab.exec(OLD, ["env", f"PYTHONPATH={Path.cwd()}", sys.executable, "-m", "swarmproxy", *words])
    assert "swarmproxy" not in lab.exec(OLD, ["nft", "list", "tables"]).stdout
    assert DNS_ADDRESS not in lab.exec(OLD, ["ip", "addr"]).stdout
    assert len(stored(keys.NODES)) == 1
    assert len(stored(keys.AGENTS)) == 1
