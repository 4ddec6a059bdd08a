"""The ways in which a simulated engine breaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import aiohttp
import pytest

from swarmproxy.testing import FakeClock, SimEngine


async def until(condition: Callable[[], bool]) -> None:
    """Fails by the test's own time limit when it never holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_an_injected_status_has_no_effect_and_is_used_up(talk, engine: SimEngine) -> None:
    engine.fail("POST", "/containers/create", status=507, message="no space left on device")
    assert await talk("POST", "/containers/create?name=web", {"Image": "busybox"}) == (
        507,
        {"message": "no space left on device"},
    )
    assert not engine.containers
    await talk.create("web")


async def test_a_fault_can_look_at_the_call(talk, engine: SimEngine) -> None:
    engine.fail("POST", "/containers/create", times=None, match=lambda call: b"bad" in call.body)
    assert (await talk("POST", "/containers/create?name=web", {"Image": "busybox", "Cmd": ["bad"]}))[0] == 500
    await talk.create("web")


@pytest.mark.parametrize(("how", "applied"), [("drop", False), ("lose", True)])
async def test_the_answer_can_be_lost_before_or_after_the_effect(engine: SimEngine, how: str, applied: bool) -> None:
    getattr(engine, how)("POST", "/containers/create")
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.post(engine.url + "/containers/create?name=web", json={"Image": "busybox"})
    assert ("web" in engine.daemon.names) is applied


async def test_a_hung_engine_takes_calls_and_answers_them_later(talk, engine: SimEngine) -> None:
    engine.hang()
    asking = asyncio.ensure_future(talk("GET", "/_ping"))
    await until(lambda: bool(engine.calls))
    assert not asking.done()
    engine.resume()
    assert await asking == (200, "OK")


async def test_a_refusing_engine_cuts_streams_and_comes_back_on_its_port(talk, engine: SimEngine) -> None:
    stream = await talk.session.get(engine.url + "/events")
    await engine.refuse()
    with pytest.raises(aiohttp.ClientPayloadError):
        await stream.content.readline()
    with pytest.raises(aiohttp.ClientConnectorError):
        await talk("GET", "/_ping")
    await engine.accept()
    assert (await talk("GET", "/_ping"))[0] == 200
    assert engine.daemon.ring.listeners == 0


async def test_a_restart_forgets_events_and_may_change_the_id(talk, engine: SimEngine) -> None:
    await talk.run("web", HostConfig={"RestartPolicy": {"Name": "always"}})
    await talk.run("once")
    before = engine.id
    await engine.restart(engine_id="")
    assert engine.container("web").running and engine.container("once").running
    assert not engine.daemon.ring.history
    assert (await talk("GET", "/info"))[1]["ID"] not in ("", before)
    await engine.restart(live=False)
    assert engine.container("web").running and not engine.container("once").running


async def test_latency_and_rate(talk, engine: SimEngine) -> None:
    engine.faults.latency = 0.02
    begun = time.monotonic()
    await talk("GET", "/_ping")
    assert time.monotonic() - begun >= 0.02
    engine.faults.clear()
    engine.faults.rate = 50_000
    begun = time.monotonic()
    async with talk.session.get(engine.url + "/info") as reply:
        size = len(await reply.read())
    assert time.monotonic() - begun >= (size - 5000) / 50_000


async def test_one_call_can_hang_alone(talk, engine: SimEngine) -> None:
    engine.hang_on("GET", "/info")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(talk("GET", "/info"), 0.05)
    assert (await talk("GET", "/info"))[0] == 200


async def test_calls_are_remembered_without_their_version(talk, engine: SimEngine) -> None:
    await talk("GET", "/v1.41/containers/json?all=1")
    assert engine.calls[-1] == ("GET", "/containers/json", "all=1", b"", "1.41")


def test_a_fake_clock_runs_timers_at_their_instants() -> None:
    clock = FakeClock(wall=100.0, monotonic=5.0)
    ran: list[tuple[str, float]] = []
    clock.call_later(2.0, lambda: ran.append(("b", clock())))
    clock.call_later(
        1.0, lambda: (ran.append(("a", clock())), clock.call_later(0.5, lambda: ran.append(("c", clock()))))
    )
    clock.call_later(1.0, lambda: ran.append(("never", 0.0))).cancel()
    clock.advance(1.75)
    assert ran == [("a", 6.0), ("c", 6.5)]
    clock.advance(1.0)
    assert ran[2:] == [("b", 7.0)]
    clock.step(-50.0)
    assert (clock(), clock.time()) == (7.75, 52.75)
