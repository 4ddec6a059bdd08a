"""docker-py against each proxy, and one after another."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import Any

import docker as sdk
import pytest
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound

from swarmproxy.lab import Lab
from tests.clients.conftest import Place
from tests.shared_lab import until


@pytest.fixture
def clients(lab: Lab) -> Iterator[tuple[sdk.DockerClient, sdk.DockerClient]]:
    """One a proxy."""
    one, two = (sdk.DockerClient(base_url=url, version="auto", timeout=30) for url in lab.proxy_urls)
    yield one, two
    one.close()
    two.close()


Clients = tuple[sdk.DockerClient, sdk.DockerClient]


def pinned(place: Place) -> list[str]:
    return [place.pin[1]]


def test_run_list_logs_and_exec(clients: Clients, place: Place) -> None:
    one, two = clients
    assert one.containers.run("busybox", "echo hi", remove=True, environment=pinned(place)) == b"hi\n"
    made = one.containers.run("busybox", "sh -c 'echo started; sleep 1000'", detach=True, init=True, name="box",
                              environment=pinned(place), labels={"colour": "blue"})  # fmt: skip
    box = two.containers.get("box")
    assert (box.id, box.status, box.attrs["Node"]["Name"]) == (made.id, "running", place.node)
    assert [each.name for each in two.containers.list(filters={"label": "colour=blue"})] == ["box"]
    until(lambda: two.containers.get("box").logs() == b"started\n", "it has started")
    said: Any = two.containers.get("box").exec_run("sh -c 'echo out; echo err >&2; exit 3'", demux=True)
    assert (said.exit_code, said.output) == (3, (b"out\n", b"err\n"))
    assert box.exec_run("cat /proc/self/stat", stream=False).exit_code == 0
    assert box.top()["Titles"]
    box.stop(timeout=1)
    assert made.wait()["StatusCode"] == 143
    made.reload()
    assert made.status == "exited"
    box.remove()
    with pytest.raises(NotFound):
        one.containers.get(str(made.id))


def test_failures_are_the_sdks_own(clients: Clients, place: Place) -> None:
    one, two = clients
    with pytest.raises(ContainerError, match="exit status 3"):
        one.containers.run("busybox", "sh -c 'exit 3'", remove=True, environment=pinned(place))
    with pytest.raises(ImageNotFound):
        one.images.get("nosuch:1")
    one.containers.create("busybox", name="box", environment=pinned(place))
    with pytest.raises(APIError) as refused:
        two.containers.create("busybox", name="box")
    assert refused.value.status_code == 409


def test_a_network_without_a_driver_joins_hosts(clients: Clients, lab: Lab) -> None:
    one, two = clients
    network = one.networks.create("front")
    for node in lab.nodes:
        two.containers.run("busybox", "sleep 1000", detach=True, init=True, name=node.name, network="front",
                           environment=[f"constraint:node=={node.name}"])  # fmt: skip
    network.reload()
    assert {each.name for each in network.containers} == {node.name for node in lab.nodes}
    assert one.containers.get("node-1").exec_run("ping -c 1 -W 2 node-3").exit_code == 0
    late = two.containers.create("busybox", "sleep 1000", name="late", init=True)
    network.connect(late, aliases=["guest"])
    late.start()
    assert one.containers.get("node-2").exec_run("ping -c 1 -W 2 guest").exit_code == 0
    network.disconnect(late)
    with pytest.raises(APIError, match="active endpoints"):
        two.networks.get(str(network.id)).remove()


def test_volumes(clients: Clients, place: Place) -> None:
    one, two = clients
    one.volumes.create("data", labels={"tier": "db"})
    mount = {"data": {"bind": "/data", "mode": "rw"}}
    two.containers.run("busybox", "touch /data/file", remove=True, volumes=mount, environment=pinned(place))
    assert one.containers.run("busybox", "ls /data", remove=True, volumes=mount) == b"file\n"
    assert dict(two.volumes.get("data").attrs)["Labels"] == {"tier": "db"}
    assert [each.name for each in one.volumes.list()] == ["data"]
    two.volumes.get("data").remove()
    with pytest.raises(NotFound):
        one.volumes.get("data")


def test_attach_and_archives(clients: Clients, place: Place) -> None:
    one, two = clients
    box = one.containers.run("busybox", "cat", detach=True, stdin_open=True, name="box", environment=pinned(place))
    socket: Any = two.containers.get("box").attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    socket._sock.sendall(b"echoed\n")
    assert socket.read(15).endswith(b"echoed\n")
    socket._sock.close()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        entry = tarfile.TarInfo("dropped")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    assert box.put_archive("/root", content.getvalue())
    parts, told = two.containers.get("box").get_archive("/root/dropped")
    assert told is not None and told["size"] == 3 and b"abc" in b"".join(parts)


def test_events_and_stats(clients: Clients, place: Place) -> None:
    one, two = clients
    with_events = one.events(decode=True, filters={"type": "container"})
    box = two.containers.run("busybox", "sleep 1000", detach=True, init=True, environment=pinned(place))
    for event in with_events:
        if event["id"] == box.id and event["Action"] == "start":
            assert event["Actor"]["Attributes"]["node.name"] == place.node
            break
    with_events.close()
    stats: Any = one.containers.get(str(box.id)).stats(stream=False)
    assert stats["id"] == box.id
    assert one.info()["Containers"] == 1
