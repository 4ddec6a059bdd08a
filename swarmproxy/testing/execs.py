"""Exec instances: created, started once, kept after their end."""

from __future__ import annotations

from typing import Any

from swarmproxy.model.errors import BadRequest, Conflict, NotFound
from swarmproxy.testing import running
from swarmproxy.testing.daemon import Daemon
from swarmproxy.testing.objects import Exec
from swarmproxy.testing.programs import Program, program

__all__ = ["begin", "create", "find", "finish"]

Tree = dict[str, Any]


def create(daemon: Daemon, reference: str, body: Tree) -> Exec:
    container = daemon.container(reference)
    command = body.get("Cmd") or []
    if not command:
        raise BadRequest("No exec command specified")
    running.require_running(daemon, container)
    if container.status == "paused":
        raise Conflict(f"Container {reference} is paused, unpause the container before exec")
    exec_ = Exec(daemon.new_id(), container.id, body, list(command))
    daemon.execs[exec_.id] = exec_
    container.execs = (*container.execs, exec_.id)
    daemon.emit_container(container, f"exec_create: {spelt(exec_)}", execID=exec_.id)
    return exec_


def spelt(exec_: Exec) -> str:
    """As events spell it: entry point, a blank, arguments (so a lone word ends in a blank)."""
    return f"{exec_.command[0]} {' '.join(exec_.command[1:])}"


def find(daemon: Daemon, exec_id: str) -> Exec:
    """Full id only; gone with its container."""
    exec_ = daemon.execs.get(exec_id)
    if exec_ is None or exec_.container not in daemon.containers:
        raise NotFound(f"No such exec instance: {exec_id}")
    return exec_


def begin(daemon: Daemon, exec_: Exec) -> Program:
    """Starts it. A second start is the caller's to refuse (`exec_.started`)."""
    container = daemon.containers[exec_.container]
    running.require_running(daemon, container)
    exec_.started = exec_.running = True
    exec_.pid = daemon.new_pid()
    daemon.emit_container(container, f"exec_start: {spelt(exec_)}", execID=exec_.id)
    return program(exec_.command)


def finish(daemon: Daemon, exec_: Exec, code: int, *, failed: bool = False) -> None:
    """`failed`: the command could not be run; an engine then tells nobody that it died."""
    if not exec_.running:
        return
    exec_.running, exec_.code = False, code
    container = daemon.containers.get(exec_.container)
    if container is None:
        return
    container.execs = tuple(key for key in container.execs if key != exec_.id)
    if not failed:
        daemon.emit_container(container, "exec_die", execID=exec_.id, exitCode=str(code))
