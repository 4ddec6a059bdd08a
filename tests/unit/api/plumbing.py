"""A raw engine, the proxy in front of it, and raw clients: bytes on both sides, on either event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop

from swarmproxy.api.call import Call
from swarmproxy.api.dispatch import Dispatcher
from swarmproxy.api.route import Route
from swarmproxy.api.server import Listener, Site
from swarmproxy.api.versions import Versions
from swarmproxy.engine.client import Engine

ID = "a" * 64
FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Script = Callable[[Reader, Writer], Awaitable[None]]


def both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an async test once on asyncio's own loop and once on uvloop."""

    @pytest.mark.parametrize("loop_name", FACTORIES)
    def run(loop_name: str, **given: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(10):
                await test(**given)

        with asyncio.Runner(loop_factory=FACTORIES[loop_name]) as runner:
            runner.run(bounded())

    functools.update_wrapper(run, test)
    del run.__wrapped__  # type: ignore[attr-defined]
    own = inspect.signature(test).parameters.values()
    first = inspect.Parameter("loop_name", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([first, *own])  # type: ignore[attr-defined]
    return run


async def until(condition: Callable[[], object], timeout: float = 10.0) -> None:
    """Waits for a condition, polling; fails when it does not come true in time."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def settled(value: Callable[[], int]) -> int:
    """Waits until a value has stopped growing."""
    before, same = value(), 0
    while same < 5:
        await asyncio.sleep(0.01)
        before, same = value(), same + 1 if value() == before else 0
    return before


def sockets() -> int:
    """How many descriptors of this process are sockets."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(descriptor.readlink()).startswith("socket:")
    return count


async def read_head(reader: Reader) -> str:
    return (await reader.readuntil(b"\r\n\r\n")).decode()


async def read_request(reader: Reader) -> tuple[str, bytes]:
    """Head and body of a request with a length."""
    head = await read_head(reader)
    length = 0
    for line in head.lower().splitlines():
        if line.startswith("content-length:"):
            length = int(line.partition(":")[2])
    return head, await reader.readexactly(length)


@dataclass
class Fake:
    """An engine that runs `script` on each connection, then closes it. `closed` counts ended connections."""

    script: Script
    requests: list[str] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    server: asyncio.Server | None = None

    async def serve(self, reader: Reader, writer: Writer) -> None:
        self.opened += 1
        try:
            await self.script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.closed += 1
            writer.close()


@dataclass
class Running:
    fake: Fake
    engine: Engine
    listener: Listener
    dispatcher: Dispatcher[Any]
    url: str

    async def connect(self) -> tuple[Reader, Writer]:
        if self.url.startswith("unix://"):
            return await asyncio.open_unix_connection(self.url.removeprefix("unix://"))
        host, _, port = self.url.removeprefix("tcp://").rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def ask(self, request: str, body: bytes = b"") -> tuple[str, bytes]:
        """One request on a connection of its own; head and everything up to the connection's end."""
        reader, writer = await self.connect()
        first, _, rest = request.partition("\n")
        lines = [f"{first} HTTP/1.1", "Host: docker", "Connection: close", *filter(None, rest.split("\n"))]
        writer.write("\r\n".join((*lines, "", "")).encode() + body)
        head = await read_head(reader)
        content = await reader.read()
        writer.close()
        return head, content


@contextlib.asynccontextmanager
async def proxy(
    script: Script,
    *routes: Route[Any],
    tmp_path: Path | None = None,
    after: Callable[[Call[Any], Route[Any]], Awaitable[None]] | None = None,
    api: str = "1.41",
) -> AsyncIterator[Running]:
    """The proxy before one fake engine; over TCP, or over unix sockets in `tmp_path`. Nothing may be left behind."""
    before = sockets()
    fake = Fake(script)
    if tmp_path is None:
        fake.server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, limit=1 << 16)
        port = fake.server.sockets[0].getsockname()[1]
        engine = Engine("node-1", f"http://127.0.0.1:{port}")
    else:
        fake.server = await asyncio.start_unix_server(fake.serve, str(tmp_path / "engine.sock"))
        engine = Engine("node-1", f"unix://{tmp_path}/engine.sock")
    engine.api = api

    async def owner(call: Call[Any]) -> tuple[Engine, str]:
        return engine, ID if "container" in call.params else ""

    extra = {} if after is None else {"after": after}
    dispatcher: Dispatcher[Any] = Dispatcher(
        routes, cluster=None, versions=Versions(newest="1.45"), resolve_owner=owner, **extra
    )
    listener = Listener(dispatcher.handle)
    url = await listener.open(Site("127.0.0.1", 0) if tmp_path is None else Site(path=str(tmp_path / "proxy.sock")))
    try:
        yield Running(fake, engine, listener, dispatcher, url)
        await until(lambda: listener.connections == 0)
    finally:
        await listener.close(0)
        await engine.close()
        fake.server.close()
    await until(lambda: fake.closed == fake.opened)
    await until(lambda: len(asyncio.all_tasks()) == 1)
    await until(lambda: sockets() <= before)
