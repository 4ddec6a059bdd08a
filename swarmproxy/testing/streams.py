"""Answers that take time: wait, logs, events, stats, and the progress of pull and load. The head always goes first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web

from swarmproxy.model.errors import BadRequest, DockerError
from swarmproxy.testing import images, running
from swarmproxy.testing.daemon import rfc3339
from swarmproxy.testing.events import Event, included, parse_instant
from swarmproxy.testing.filters import boolean, number, parse_filters
from swarmproxy.testing.hijack import MULTIPLEXED, RAW, frame
from swarmproxy.testing.http import JSON, Asked, Reply
from swarmproxy.testing.objects import Container, LogLine

__all__ = ["create_image", "events", "load", "logs", "stats", "wait"]

Tree = dict[str, Any]


async def wait(asked: Asked) -> web.StreamResponse:
    """POST /containers/{id}/wait: `docker run` blocks until the head is there."""
    daemon = asked.daemon
    container = daemon.container(asked.id)
    condition = asked.get("condition") or "not-running"
    if condition not in ("not-running", "next-exit", "removed"):
        if not daemon.flavour.old:
            raise BadRequest(f'invalid condition: "{condition}"')
        condition = "not-running"
    code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    give_up = running.wait(container, condition, lambda value: None if code.done() else code.set_result(value))
    try:
        response = await asked.front.open(asked, type=JSON)
        body: Tree = {"StatusCode": await code}
    finally:
        give_up()
    if daemon.flavour.old:
        body = {"Error": None, **body}
    await asked.front.write(response, msgspec.json.encode(body) + b"\n")
    await response.write_eof()
    return response


# ---------------------------------------------------------------- logs


async def logs(asked: Asked) -> web.StreamResponse:
    """GET /containers/{id}/logs"""
    daemon = asked.daemon
    container = daemon.container(asked.id)
    wanted = {stream for stream, key in ((1, "stdout"), (2, "stderr")) if boolean(asked.get(key))}
    if not wanted:
        raise BadRequest("Bad parameters: you must choose at least one stream")
    since, until = parse_instant(asked.get("since")), parse_instant(asked.get("until"))
    tty = bool(container.config.get("Tty"))
    kind = "" if daemon.flavour.old else RAW if tty or asked.api < (1, 42) else MULTIPLEXED
    stamped = boolean(asked.get("timestamps"))

    def shown(line: LogLine) -> bytes:
        text = rfc3339(line.nano).encode() + b" " + line.text if stamped else line.text
        return text if tty else frame(line.stream, text)

    lines = [
        line
        for line in container.log or ()
        if line.stream in wanted and (since is None or line.nano >= since) and (until is None or line.nano <= until)
    ]
    tail = asked.get("tail")
    if tail.isdigit():
        lines = lines[len(lines) - min(int(tail), len(lines)) :]
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    def live(stream: int, text: bytes) -> None:
        if not stream:
            queue.put_nowait(None)
        elif stream in wanted:
            queue.put_nowait(shown(LogLine(daemon.now(), stream, text)))

    following = boolean(asked.get("follow")) and container.running
    leave = running.attach(container, live) if following else None
    try:
        response = await asked.front.open(asked, type=kind)
        if lines:
            await asked.front.write(response, b"".join(shown(line) for line in lines))
        while following:
            chunk = await queue.get()
            if chunk is None:
                break
            await asked.front.write(response, chunk)
    finally:
        if leave is not None:
            leave()
    await response.write_eof()
    return response


# ---------------------------------------------------------------- events


async def events(asked: Asked) -> web.StreamResponse:
    """GET /events: history, then live, until `until`."""
    daemon, front = asked.daemon, asked.front
    since, until = parse_instant(asked.get("since")), parse_instant(asked.get("until"))
    if since is not None and until is not None and since > until:
        raise BadRequest(f"`since` time ({asked.get('since')}) cannot be after `until` time ({asked.get('until')})")
    filters = parse_filters(asked.get("filters"), daemon.flavour, None)
    queue: asyncio.Queue[Event | None] = asyncio.Queue()
    past = [event for event in daemon.ring.between(since, until) if included(event, filters)]
    end = daemon.ring.listen(lambda event: queue.put_nowait(event) if included(event, filters) else None)
    timer = None
    if until is not None:
        timer = daemon.clock.call_later(max(0.0, until / 1e9 - daemon.time()), lambda: queue.put_nowait(None))
    try:
        response = await front.open(asked, type=JSON)
        if past:
            await front.write(response, b"".join(event.encode() for event in past))
        while True:
            event = await queue.get()
            if event is None:
                break
            await front.write(response, event.encode())
    finally:
        end()
        if timer is not None:
            timer.cancel()
    await response.write_eof()
    return response


# ---------------------------------------------------------------- stats


def _sample(asked: Asked, container: Container) -> bytes:
    daemon = asked.daemon
    now = int(daemon.time() * 1e9) if container.running else 0
    lived = max(0, now - container.started) if container.running else 0
    cpu = {
        "cpu_usage": {"total_usage": lived // 100, "usage_in_kernelmode": 0, "usage_in_usermode": lived // 100},
        "system_cpu_usage": now // 10,
        "online_cpus": daemon.cpus,
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }
    body: Tree = {
        "read": rfc3339(now),
        "preread": rfc3339(max(0, now - 1_000_000_000)),
        "pids_stats": {"current": 1} if container.running else {},
        "blkio_stats": {"io_service_bytes_recursive": []},
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu,
        "precpu_stats": cpu,
        "memory_stats": {"usage": 323584, "stats": {}, "limit": daemon.memory} if container.running else {},
        "name": f"/{container.name}",
        "id": container.id,
        "networks": {"eth0": {"rx_bytes": 0, "rx_packets": 0, "tx_bytes": 0, "tx_packets": 0}},
    }
    return msgspec.json.encode(body) + b"\n"


async def stats(asked: Asked) -> web.StreamResponse:
    """GET /containers/{id}/stats: one object, or one a second. The first one does not wait for a second sample."""
    container = asked.daemon.container(asked.id)
    if asked.query.get("stream") and not boolean(asked.get("stream")):
        return await asked.front.send(asked.http, Reply(200, _sample(asked, container), JSON))
    response = await asked.front.open(asked)
    while container.id in asked.daemon.containers:
        await asked.front.write(response, _sample(asked, container))
        await asyncio.sleep(1.0)
    await response.write_eof()
    return response


# ---------------------------------------------------------------- progress


async def _progress(asked: Asked, lines: Iterable[Tree]) -> web.StreamResponse:
    response = await asked.front.open(asked, type=JSON)
    for line in lines:
        await asked.front.write(response, msgspec.json.encode(line) + b"\r\n")
    await response.write_eof()
    return response


async def create_image(asked: Asked) -> web.StreamResponse:
    """POST /images/create: pull. An error before the first line is an ordinary one."""
    reference = asked.get("fromImage")
    if not reference:
        raise DockerError("import is not simulated", status=501)
    return await _progress(asked, images.pull(asked.daemon, reference, asked.get("tag")))


async def load(asked: Asked) -> web.StreamResponse:
    """POST /images/load"""
    number(asked.get("quiet"))
    return await _progress(asked, images.load(asked.daemon, asked.call.body))
