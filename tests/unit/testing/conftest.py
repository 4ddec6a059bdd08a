"""One simulated engine of each flavour, and a plain HTTP client that speaks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from swarmproxy.testing import SimEngine


class Talk:
    """Calls without a version unless the path says one; answers are (status, decoded JSON or text)."""

    def __init__(self, session: aiohttp.ClientSession, engine: SimEngine) -> None:
        self.session = session
        self.engine = engine

    async def __call__(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        async with self.session.request(method, self.engine.url + path, json=body) as reply:
            if reply.content_type == "application/json":
                return reply.status, await reply.json()
            return reply.status, await reply.text()

    async def create(self, name: str, image: str = "busybox", **fields: object) -> str:
        body = {"Image": image, "Cmd": ["sleep", "1000"], **fields}
        status, made = await self("POST", f"/containers/create?name={name}", body)
        assert status == 201, made
        return str(made["Id"])

    async def run(self, name: str, **fields: object) -> str:
        made = await self.create(name, **fields)
        assert (await self("POST", f"/containers/{name}/start"))[0] == 204
        return made

    def actions(self, since: int = 0) -> list[str]:
        """`type action` of all events, with the container's or network's name."""
        return [
            f"{event.type} {event.action} {event.attributes.get('name', event.id)}"
            for event in list(self.engine.daemon.ring.history)[since:]
        ]


@pytest.fixture(params=["20.10", "26.1"])
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def engine(flavour: str) -> AsyncIterator[SimEngine]:
    async with SimEngine(name="node-1", flavour=flavour, images=["busybox:latest", "nginx:alpine"]) as engine:
        yield engine


@pytest.fixture
async def talk(engine: SimEngine) -> AsyncIterator[Talk]:
    async with aiohttp.ClientSession() as session:
        yield Talk(session, engine)
