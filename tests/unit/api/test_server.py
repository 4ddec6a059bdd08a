from __future__ import annotations

import asyncio
import resource
import stat
from pathlib import Path

import pytest
from aiohttp import web

from swarmproxy.api.server import Listener, Site, raise_file_limit, run
from tests.unit.api.plumbing import both_loops, read_head, until


async def hello(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="hello")


@pytest.mark.parametrize(
    ("text", "site", "local"),
    [
        ("tcp://127.0.0.1:2375", Site("127.0.0.1", 2375), True),
        ("tcp://:2375", Site("0.0.0.0", 2375), False),
        ("10.0.0.1:99", Site("10.0.0.1", 99), False),
        ("tcp://[::1]:0", Site("::1", 0), True),
        ("localhost:1", Site("localhost", 1), True),
        ("unix:///run/x.sock", Site(path="/run/x.sock"), True),
    ],
)
def test_sites(text: str, site: Site, local: bool) -> None:
    assert Site.parse(text) == site
    assert site.local is local


@both_loops
async def test_a_socket_is_the_groups_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    site = Site.parse(f"unix://{path}")
    listener = Listener(hello)
    assert await listener.open(site) == f"unix://{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with pytest.raises(OSError, match="another process serves"):
        await Listener(hello).open(site)
    path.rename(tmp_path / "kept")
    await listener.close(0)
    (tmp_path / "kept").rename(path)
    listener = Listener(hello)
    await listener.open(site)
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await read_head(reader)).startswith("HTTP/1.1 200")
    writer.close()
    await listener.close(0)
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(OSError, match="is not a socket"):
        await Listener(hello).open(site)


@both_loops
async def test_stopping_waits_for_what_is_under_way_and_takes_nothing_new() -> None:
    go, started = asyncio.Event(), asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        started.set()
        await go.wait()
        return web.Response(text="done")

    listener = Listener(slow)
    port = int((await listener.open(Site("127.0.0.1", 0))).rpartition(":")[2])
    idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await started.wait()
    closing = asyncio.ensure_future(listener.close(5))
    assert await idle_reader.read() == b""
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)
    assert not closing.done()
    go.set()
    assert (await reader.read()).endswith(b"done")
    await closing
    await until(lambda: listener.connections == 0)
    writer.close()
    idle_writer.close()


def test_the_file_limit_is_what_the_system_grants() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[1]), before[1]))
        assert raise_file_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_process_runs_on_uvloop() -> None:
    async def main() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert run(main()).startswith("uvloop")
