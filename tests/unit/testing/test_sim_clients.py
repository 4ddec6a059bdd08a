"""An independent client, docker-py, finds nothing to complain about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import docker
import docker.errors
import pytest

from swarmproxy.testing import SimEngine

T = Callable[[docker.DockerClient], None]


async def drive(engine: SimEngine, steps: T) -> None:
    def run() -> None:
        client = docker.DockerClient(base_url=engine.docker_host, timeout=5, version="auto")
        try:
            steps(client)
        finally:
            client.close()

    await asyncio.to_thread(run)


async def test_containers(engine: SimEngine) -> None:
    def steps(client: docker.DockerClient) -> None:
        web = client.containers.create(
            "busybox", "sleep 100", name="web", labels={"a": "b"}, ports={"80/tcp": 8080}, volumes=["v1:/data"]
        )
        web.start()
        web.reload()
        assert (web.status, web.labels, web.ports["80/tcp"][0]["HostPort"]) == ("running", {"a": "b"}, "8080")
        assert client.containers.list(filters={"label": "a=b"}) == [web]
        assert web.exec_run("echo hi") == (0, b"hi\n")
        assert web.exec_run("false").exit_code == 1
        assert web.top()["Titles"][0] == "UID"
        assert web.stats(stream=False)["name"] == "/web"
        web.pause()
        web.unpause()
        web.rename("www")
        with pytest.raises(docker.errors.APIError, match="is already in use"):
            client.containers.create("busybox", name="www")
        web.stop()
        assert client.containers.list() == [] and client.containers.list(all=True) == [web]
        web.restart()
        web.kill()
        assert web.wait() in ({"StatusCode": 137}, {"StatusCode": 137, "Error": None})
        web.remove(v=True)
        with pytest.raises(docker.errors.NotFound):
            client.containers.get("www")

    await drive(engine, steps)


async def test_run_to_the_end_and_logs(engine: SimEngine) -> None:
    def steps(client: docker.DockerClient) -> None:
        assert client.containers.run("busybox", "echo hello", remove=True) == b"hello\n"
        with pytest.raises(docker.errors.ContainerError) as caught:
            client.containers.run("busybox", ["sh", "-c", "exit 7"])
        assert caught.value.exit_status == 7
        kept = client.containers.run("busybox", "echo kept", detach=True)
        kept.wait()
        assert kept.logs() == b"kept\n" and kept.logs(stdout=False, stderr=True) == b""
        assert client.containers.prune()["ContainersDeleted"]
        with pytest.raises(docker.errors.ImageNotFound, match="pull access denied"):
            client.containers.run("nosuch:1")

    await drive(engine, steps)


async def test_networks_and_volumes(engine: SimEngine) -> None:
    def steps(client: docker.DockerClient) -> None:
        pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet="10.5.0.0/24")])
        net = client.networks.create("n1", labels={"x": "y"}, ipam=pool)
        web = client.containers.run("busybox", "sleep 9", name="web", detach=True)
        net.connect(web, ipv4_address="10.5.0.9", aliases=["al"])
        net.reload()
        assert [(c.name) for c in net.containers] == ["web"]
        web.reload()
        assert web.attrs["NetworkSettings"]["Networks"]["n1"]["IPAddress"] == "10.5.0.9"
        net.disconnect(web)
        net.remove()
        assert [n.name for n in client.networks.list(names=["n1"])] == []
        volume = client.volumes.create("v1", labels={"x": "y"})
        assert client.volumes.list(filters={"label": "x=y"}) == [volume]
        volume.remove()
        web.remove(force=True)

    await drive(engine, steps)


async def test_images(engine: SimEngine) -> None:
    def steps(client: docker.DockerClient) -> None:
        image = client.images.pull("alpine", "3.1")
        assert image.tags == ["alpine:3.1"]
        image.tag("mine/app", "2")
        saved = b"".join(client.images.get("mine/app:2").save(named="mine/app:2"))
        client.images.remove("alpine:3.1")
        client.images.remove("mine/app:2")
        with pytest.raises(docker.errors.ImageNotFound):
            client.images.get("mine/app:2")
        assert [loaded.id for loaded in client.images.load(saved)] == [image.id]
        client.containers.create("mine/app:2", name="user")
        with pytest.raises(docker.errors.APIError, match=r"must force\) - container .* is using"):
            client.images.remove("mine/app:2")

    await drive(engine, steps)


async def test_events_and_files(engine: SimEngine) -> None:
    def steps(client: docker.DockerClient) -> None:
        stream = client.events(decode=True, filters={"type": "container"})
        web = client.containers.create("busybox", "sleep 9", name="web")
        assert next(stream)["Action"] == "create"
        stream.close()
        import io
        import tarfile

        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            member = tarfile.TarInfo("note")
            member.size = 5
            archive.addfile(member, io.BytesIO(b"hello"))
        assert web.put_archive("/tmp", buffer.getvalue())
        chunks, stat = web.get_archive("/tmp/note")
        assert (stat["name"], stat["size"]) == ("note", 5)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            handle = archive.extractfile("note")
            assert handle is not None and handle.read() == b"hello"
        assert client.info()["Containers"] == 1 and client.df()["Images"]

    await drive(engine, steps)


async def test_a_hundred_engines_of_thirty_in_one_process() -> None:
    engines = [SimEngine(name=f"node-{number}", containers=30) for number in range(100)]
    try:
        await asyncio.gather(*(engine.start() for engine in engines))
        ids = {key for engine in engines for key in engine.containers}
        assert len(ids) == 3000
        import aiohttp

        async with aiohttp.ClientSession() as session:
            for engine in engines[:3]:
                async with session.get(engine.url + "/containers/json") as reply:
                    assert len(await reply.json()) == 30
    finally:
        await asyncio.gather(*(engine.stop() for engine in engines))
