"""A Docker engine that runs nothing, for tests, benchmarks and chaos.

    async with SimEngine(name="node-1", flavour="20.10", images=["busybox:latest"]) as engine:
        member.address = engine.url
        engine.fail("POST", "/containers/create", status=500)
        engine.exit("web", 137)

It keeps an engine's state, speaks an engine's HTTP with its exact words, and breaks in the ways that engines break.
Containers are state only: see `programs` for what their commands do. A thousand of them with 30 containers each fit in
one process (about 0.1 MB an engine).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from swarmproxy.model.options import DRIVER
from swarmproxy.testing import containers, images, networks, running
from swarmproxy.testing.clock import Clock, SystemClock
from swarmproxy.testing.daemon import Daemon
from swarmproxy.testing.faults import Call, Fault, Faults
from swarmproxy.testing.http import Front
from swarmproxy.testing.objects import Container
from swarmproxy.testing.references import parse
from swarmproxy.testing.routes import ROUTES

__all__ = ["SimEngine"]


class SimEngine:
    """One engine on a TCP port of loopback, or on a unix socket.

    Args:
        name: host name and `info.Name`.
        flavour: "20.10" (API 1.41) or "26.1" (API 1.45).
        images: references that are there from the start; equal on every engine.
        containers: how many running containers to begin with, of the first image.
        socket: path of a unix socket instead of TCP.
        clock: the engine's time; timers of `until` and restart policies run on it.
        engine_id, labels, cpus, memory, plugins, seed: see `Daemon`.
        keep_calls: how many requests `calls` remembers.
    """

    def __init__(
        self,
        *,
        name: str = "node-1",
        flavour: str = "20.10",
        images: Iterable[str] = ("busybox:latest",),
        containers: int = 0,
        socket: Path | None = None,
        clock: Clock | None = None,
        engine_id: str = "",
        labels: Iterable[str] = (),
        cpus: int = 4,
        memory: int = 8 << 30,
        plugins: Iterable[str] = (DRIVER,),
        seed: int | None = None,
        keep_calls: int = 1000,
    ) -> None:
        self.daemon = Daemon(
            name=name,
            flavour=flavour,
            clock=clock or SystemClock(),
            engine_id=engine_id,
            labels=labels,
            cpus=cpus,
            memory=memory,
            plugins=plugins,
            seed=seed,
        )
        self.name = name
        self.socket = socket
        self.port = 0
        self._keep_calls = keep_calls
        self._front: Front | None = None
        self._listener: asyncio.Server | None = None
        networks.seed(self.daemon)
        for reference in images:
            self.add_image(reference)
        if containers:
            self.seed(containers)

    # ------------------------------------------------------------ running it

    async def __aenter__(self) -> SimEngine:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        self._front = Front(self.daemon, ROUTES, keep_calls=self._keep_calls)
        await self.accept()

    async def stop(self) -> None:
        """Ends every connection and the listener."""
        await self.refuse()
        if self.socket is not None:
            self.socket.unlink(missing_ok=True)

    @property
    def url(self) -> str:
        """As a member's address: http://127.0.0.1:PORT or unix:///path."""
        return f"unix://{self.socket}" if self.socket is not None else f"http://127.0.0.1:{self.port}"

    @property
    def docker_host(self) -> str:
        """For DOCKER_HOST: tcp:// or unix://."""
        return self.url.replace("http://", "tcp://")

    @property
    def front(self) -> Front:
        assert self._front is not None, "the engine has not been started"
        return self._front

    # ------------------------------------------------------------ what tests look at

    @property
    def id(self) -> str:
        return self.daemon.id

    @property
    def calls(self) -> deque[Call]:
        """Requests seen: (method, path without version, query, body, version)."""
        return self.front.calls

    @property
    def containers(self) -> dict[str, Container]:
        """By id, oldest first."""
        return self.daemon.containers

    def container(self, reference: str) -> Container:
        """By name, id or prefix. Raises NotFound."""
        return self.daemon.container(reference)

    # ------------------------------------------------------------ what happens by itself on a real host

    def add_image(self, reference: str, variant: str = "") -> str:
        """Its id. Another `variant` is a newer image of the same name."""
        image = images.build(parse(reference, self.daemon.flavour).complete, variant)
        return images.add(self.daemon, reference, image).id

    def seed(self, count: int, *, image: str = "", running: bool = True, prefix: str = "") -> list[Container]:
        """Containers that have always been there: no events, one shared template, named `PREFIX-N`."""
        reference = image or next(iter(self.daemon.tags))
        return containers.seed(self.daemon, count, image=reference, running_=running, prefix=prefix)

    def exit(self, reference: str, code: int = 0) -> None:
        """The container's process ends by itself; its restart policy and AutoRemove apply."""
        running.end(self.daemon, self.container(reference), code)

    def log(self, reference: str, text: str, *, stream: int = 1) -> None:
        """The container writes; stream 1 = stdout, 2 = stderr."""
        running.write(self.daemon, self.container(reference), text.encode(), stream=stream)

    def health(self, reference: str, status: str) -> None:
        """starting, healthy or unhealthy; an event when it changes."""
        running.set_health(self.daemon, self.container(reference), status)

    @property
    def skew(self) -> float:
        """Seconds the engine's clock is ahead."""
        return self.daemon.skew

    @skew.setter
    def skew(self, seconds: float) -> None:
        self.daemon.skew = seconds

    # ------------------------------------------------------------ faults

    @property
    def faults(self) -> Faults:
        """`latency` and `rate` of every call, and the rules."""
        return self.front.faults

    def fail(
        self,
        method: str = "",
        path: str = "*",
        *,
        status: int = 500,
        message: str = "injected failure",
        times: int | None = 1,
        match: Callable[[Call], bool] | None = None,
    ) -> Fault:
        """The next matching calls answer `status` and have no effect."""
        fault = Fault("status", method, path, times, status=status, message=message, match=match)
        return self.faults.add(fault)

    def drop(self, method: str = "", path: str = "*", *, times: int | None = 1) -> Fault:
        """The next matching calls lose their connection before they take effect."""
        return self.faults.add(Fault("drop", method, path, times))

    def lose(self, method: str = "", path: str = "*", *, times: int | None = 1) -> Fault:
        """The next matching calls take effect, and their answer is lost with the connection."""
        return self.faults.add(Fault("lose", method, path, times))

    def delay(self, seconds: float, method: str = "", path: str = "*", *, times: int | None = 1) -> Fault:
        return self.faults.add(Fault("delay", method, path, times, seconds=seconds))

    def hang_on(self, method: str = "", path: str = "*", *, times: int | None = 1) -> Fault:
        """The next matching calls are never answered."""
        return self.faults.add(Fault("hang", method, path, times))

    def hang(self) -> None:
        """As after SIGSTOP: connections are taken, nothing is answered, streams stand still."""
        self.front.going.clear()

    def resume(self) -> None:
        """What was asked meanwhile is answered now."""
        self.front.going.set()

    async def refuse(self) -> None:
        """The daemon is gone: the port is closed and every connection cut."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for transport in tuple(self.front.tunnels):
            transport.abort()
        for connection in tuple(self.front.server.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await self.front.server.shutdown(0.1)

    async def accept(self) -> None:
        """Listens, on the same port as before."""
        loop = asyncio.get_running_loop()
        if self._listener is not None:
            return
        if self.socket is not None:
            self.socket.unlink(missing_ok=True)
            self._listener = await loop.create_unix_server(self.front.server, str(self.socket))
        else:
            self._listener = await loop.create_server(self.front.server, "127.0.0.1", self.port, backlog=1024)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def restart(self, *, engine_id: str | None = None, live: bool = True) -> None:
        """The daemon restarts: connections end, events and execs are forgotten.

        Args:
            engine_id: another id afterwards; "" makes one up.
            live: containers go on (live-restore). Else they end, and come back by their restart policy.
        """
        await self.refuse()
        daemon = self.daemon
        if not live:
            for container in list(daemon.containers.values()):
                running.end(daemon, container, daemon.stop_code, again=False)
        daemon.ring.history.clear()
        daemon.execs.clear()
        for container in daemon.containers.values():
            container.execs = ()
        if engine_id is not None:
            daemon.id = engine_id or daemon.new_engine_id()
        if not live:
            for container in list(daemon.containers.values()):
                policy = (container.host.get("RestartPolicy") or {}).get("Name") or "no"
                if policy == "always" or (policy == "unless-stopped" and not container.stopped_by_hand):
                    running.start(daemon, container.id)
        await self.accept()
