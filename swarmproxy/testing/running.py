"""Containers' lives: start, stop, kill, pause, exit, restart policies, ports, logs. State changes only.

The order of events is each flavour's own: on 26.1 `die` follows the network's disconnect, and after a stop even `stop`.
Waiters and attached streams are callbacks, called inside the change.
"""

from __future__ import annotations

from collections.abc import Callable

from swarmproxy.model.errors import BadRequest, Conflict, DockerError, NotFound
from swarmproxy.testing import networks, volumes
from swarmproxy.testing.daemon import Daemon
from swarmproxy.testing.objects import Container, Endpoint, LogLine
from swarmproxy.testing.programs import program
from swarmproxy.testing.shapes import command_line

__all__ = [
    "attach",
    "discard",
    "end",
    "kill",
    "pause",
    "restart",
    "set_health",
    "start",
    "stop",
    "unpause",
    "wait",
    "write",
]

SIGNALS = {"HUP": 1, "INT": 2, "QUIT": 3, "KILL": 9, "USR1": 10, "USR2": 12, "TERM": 15, "CONT": 18, "STOP": 19,
           "WINCH": 28}  # fmt: skip
LOG_LINES = 10_000
"""A log forgets its older half beyond this."""
_DEADLY = (1, 2, 3, 9, 15)


# ---------------------------------------------------------------- start


def start(daemon: Daemon, reference: str) -> bool:
    """False: it ran already (304). A failed start leaves it `created` (or exited), with its error and exit code."""
    container = daemon.container(reference)
    if container.status == "paused":
        raise Conflict("cannot start a paused container, try unpause instead")
    if container.running:
        return False
    container.stopped_by_hand = False
    _launch(daemon, container)
    daemon.emit_container(container, "start")
    _run(daemon, container)
    return True


def _launch(daemon: Daemon, container: Container) -> None:
    try:
        _plug(daemon, container)
        if program([*(container.config.get("Entrypoint") or ()), *(container.config.get("Cmd") or ())]).missing:
            _unplug(daemon, container)
            raise _no_such_command(daemon, container)
    except DockerError as error:
        container.exit_code = 127 if error.status == 400 else 128
        container.error = error.words
        container.changed()
        if container.host.get("AutoRemove"):
            discard(daemon, container, anonymous=True)
        raise
    container.error = ""
    container.status = "running"
    container.exit_code = 0
    container.pid = daemon.new_pid()
    container.started = daemon.now()
    container.health = "starting" if _checked(container) else ""
    container.changed()


def _plug(daemon: Daemon, container: Container) -> None:
    """Networks, ports and volumes, in the order of an engine's events."""
    mode = container.mode
    if mode.startswith("container:"):
        target = daemon.container(mode.removeprefix("container:"))
        if not target.running:
            raise Conflict(f"cannot join network of a non running container: {target.id}")
        container.config = {**container.config, "Hostname": target.id[:12]}
    found = [(key, place, daemon.network(place.network)) for key, place in container.endpoints.items()]
    for key, place, network in found:
        if key != network.name:
            del container.endpoints[key]
            container.endpoints[network.name] = place
            place.network = network.name
    container.sandbox = "" if mode.startswith("container:") else daemon.new_id()
    container.prepared = max(container.prepared, 1)
    joined: list[Endpoint] = []
    try:
        for _, place, network in found:
            networks.join(daemon, container, place, network, quiet=True)
            joined.append(place)
        _publish(daemon, container)
    except DockerError:
        for place in joined:
            networks.leave(daemon, container, place)
        _release_ports(daemon, container)
        raise
    container.prepared = 2
    for _, _, network in found:
        daemon.emit_network(network, "connect", container.id)
    for mount in container.mounts:
        if mount["Type"] == "volume":
            attributes = {
                "container": container.id,
                "destination": mount["Destination"],
                "driver": mount["Driver"],
                "propagation": "",
                "read/write": str(mount["RW"]).lower(),
            }
            daemon.emit("volume", "mount", mount["Name"], attributes)


def _publish(daemon: Daemon, container: Container) -> None:
    """Only exposed ports are published; a range takes its first free one."""
    if container.mode in ("host", "none") or container.mode.startswith("container:"):
        return
    bindings = container.host.get("PortBindings") or {}
    exposed = sorted(container.config.get("ExposedPorts") or {})
    for key in exposed:
        port = key if "/" in key else f"{key}/tcp"
        protocol = port.partition("/")[2]
        wanted = bindings.get(port) or bindings.get(key)
        if not wanted and container.host.get("PublishAllPorts"):
            wanted = [{"HostIp": "", "HostPort": ""}]
        if not wanted:
            container.ports[port] = None
            continue
        given: list[dict[str, str]] = []
        for binding in wanted:
            number = _claim(daemon, container, protocol, binding.get("HostPort") or "")
            address = binding.get("HostIp") or ""
            for shown in (address,) if address else ("0.0.0.0", "::"):
                given.append({"HostIp": shown, "HostPort": str(number)})
        container.ports[port] = given


def _claim(daemon: Daemon, container: Container, protocol: str, wanted: str) -> int:
    if not wanted or wanted == "0":
        while (protocol, daemon.next_port) in daemon.ports:
            daemon.next_port += 1
        choice = [daemon.next_port]
    else:
        first, _, last = wanted.partition("-")
        choice = list(range(int(first), int(last or first) + 1))
    for number in choice:
        if (protocol, number) not in daemon.ports:
            daemon.ports[protocol, number] = container.id
            return number
    endpoint = next((place.id for place in container.endpoints.values()), daemon.new_id())
    raise DockerError(
        f"driver failed programming external connectivity on endpoint {container.name} ({endpoint}): "
        f"Bind for 0.0.0.0:{choice[0]} failed: port is already allocated"
    )


def _release_ports(daemon: Daemon, container: Container) -> None:
    for key in [key for key, holder in daemon.ports.items() if holder == container.id] if container.ports else ():
        del daemon.ports[key]
    container.ports = {}


def _no_such_command(daemon: Daemon, container: Container) -> DockerError:
    word = command_line(container)[0]
    prefix = daemon.flavour.say("", "failed to create task for container: ")
    return BadRequest(
        f"{prefix}failed to create shim task: OCI runtime create failed: runc create failed: unable to start container "
        f'process: exec: "{word}": executable file not found in $PATH: unknown'
    )


def _checked(container: Container) -> bool:
    test = (container.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    return bool(test[0] != "NONE")


def _run(daemon: Daemon, container: Container) -> None:
    """A short program writes what it has to say and ends a moment later."""
    path, arguments = command_line(container)
    life = program([path, *arguments])
    if life.output:
        write(daemon, container, life.output)
    code = life.code
    if code is not None:
        pid = container.pid
        daemon.clock.call_later(0.0, lambda: end(daemon, container, code) if container.pid == pid else None)
        return
    early, container.stdin = container.stdin, None
    if early:
        feed(daemon, container, early)
    if container.stdin_ended:
        close_stdin(daemon, container)


def feed(daemon: Daemon, container: Container, text: bytes) -> None:
    """Standard input: echoed, or kept for the start of a container that does not run yet."""
    if container.running:
        write(daemon, container, text)
    else:
        container.stdin = (container.stdin or b"") + text


def close_stdin(daemon: Daemon, container: Container) -> None:
    """The end of standard input ends what reads it, when the client said it comes once."""
    if not container.config.get("StdinOnce"):
        return
    if container.running:
        container.stdin_ended = False
        end(daemon, container, 0)
    else:
        container.stdin_ended = True


# ---------------------------------------------------------------- ends


def _unplug(daemon: Daemon, container: Container) -> None:
    places = list(container.endpoints.values())
    for place in reversed(places) if daemon.flavour.old else places:
        networks.leave(daemon, container, place)
    for mount in container.mounts:
        if mount["Type"] == "volume":
            attributes = {"container": container.id, "driver": mount["Driver"]}
            daemon.emit("volume", "unmount", mount["Name"], attributes)
    _release_ports(daemon, container)


def end(daemon: Daemon, container: Container, code: int, *, stopping: bool = False, again: bool = True) -> None:
    """The process is gone. `stopping`: by stop or restart, which say so in their own event."""
    if not container.running:
        return
    now = daemon.now()
    container.status, container.exit_code, container.pid, container.finished = "exited", code, 0, now
    container.health = "unhealthy" if container.health else ""
    for exec_id in container.execs:
        exec_ = daemon.execs.get(exec_id)
        if exec_ is not None and exec_.running:
            exec_.running, exec_.code = False, 137
            daemon.emit_container(container, "exec_die", execID=exec_id, exitCode="137")
    container.execs = ()
    container.changed()
    if daemon.flavour.old:
        daemon.emit_container(container, "die", exitCode=str(code))
        _unplug(daemon, container)
    else:
        _unplug(daemon, container)
        if stopping:
            daemon.emit_container(container, "stop")
        duration = str((now - container.started) // 1_000_000_000)
        daemon.emit_container(container, "die", exitCode=str(code), execDuration=duration)
    if stopping and daemon.flavour.old:
        daemon.emit_container(container, "stop")
    _close_outputs(container)
    tell(container, "exit", code)
    if again and not stopping and _restarts(container):
        _restart_later(daemon, container)
    elif again and container.host.get("AutoRemove") and container.id in daemon.containers:
        discard(daemon, container, anonymous=True)


def discard(daemon: Daemon, container: Container, *, anonymous: bool) -> None:
    """Takes a stopped container away; `anonymous`: its unnamed volumes too."""
    del daemon.containers[container.id]
    daemon.names.pop(container.name, None)
    for key in [key for key in daemon.files if key[0] == container.id]:
        del daemon.files[key]
    for mount in container.mounts if anonymous else ():
        name = mount.get("Name") or ""
        if len(name) == 64 and not volumes.users(daemon, name):
            volumes.discard(daemon, name)
    container.status = "removed"
    daemon.emit_container(container, "destroy")
    tell(container, "removed", container.exit_code)


def _restarts(container: Container) -> bool:
    policy = container.host.get("RestartPolicy") or {}
    name: str = policy.get("Name") or "no"
    if container.stopped_by_hand or name == "no":
        return False
    limit = int(policy.get("MaximumRetryCount") or 0)
    if name == "on-failure":
        return container.exit_code != 0 and (not limit or container.restarts < limit)
    return True


def _restart_later(daemon: Daemon, container: Container) -> None:
    """100 ms, doubled by each restart up to a minute, as an engine waits."""
    container.status = "restarting"
    container.changed()

    def again() -> None:
        if container.status != "restarting" or container.id not in daemon.containers:
            return
        container.restarts += 1
        container.status = "exited"
        try:
            _launch(daemon, container)
        except DockerError:
            return
        daemon.emit_container(container, "start")
        _run(daemon, container)

    daemon.clock.call_later(min(0.1 * 2**container.restarts, 60.0), again)


def stop(daemon: Daemon, reference: str, *, signal: str = "") -> bool:
    """False: it was not running (304). The process ends at once with `Daemon.stop_code`."""
    container = daemon.container(reference)
    if not container.running:
        return False
    _halt(daemon, container, signal)
    return True


def _halt(daemon: Daemon, container: Container, signal: str) -> None:
    container.stopped_by_hand = True
    wanted = signal or container.config.get("StopSignal") or "TERM"
    daemon.emit_container(container, "kill", signal=str(_signal(daemon, container, wanted)))
    end(daemon, container, daemon.stop_code, stopping=True)


def restart(daemon: Daemon, reference: str, *, signal: str = "") -> None:
    container = daemon.container(reference)
    if container.running:
        container.stopped_by_hand = True
        wanted = signal or container.config.get("StopSignal") or "TERM"
        daemon.emit_container(container, "kill", signal=str(_signal(daemon, container, wanted)))
        end(daemon, container, daemon.stop_code, stopping=True, again=False)
    container.stopped_by_hand = False
    _launch(daemon, container)
    daemon.emit_container(container, "start")
    daemon.emit_container(container, "restart")
    _run(daemon, container)


def _signal(daemon: Daemon, container: Container, text: str) -> int:
    name = text.upper().removeprefix("SIG")
    number = int(name) if name.isdigit() else SIGNALS.get(name, 0)
    if not 0 < number < 65:
        prefix = f"cannot kill container: {container.name}: invalid"
        raise BadRequest(f"{daemon.flavour.say('Invalid', prefix)} signal: {text}")
    return number


def kill(daemon: Daemon, reference: str, signal: str) -> None:
    prefix = daemon.flavour.say("Cannot", "cannot")
    try:
        container = daemon.container(reference)
    except NotFound as error:
        raise NotFound(f"{prefix} kill container: {reference}: {error.words}") from None
    number = _signal(daemon, container, signal or "KILL")
    if not container.running:
        raise Conflict(f"{prefix} kill container: {reference}: {_not_running(daemon, container)}")
    daemon.emit_container(container, "kill", signal=str(number))
    if number in _DEADLY:
        container.stopped_by_hand = True
        end(daemon, container, 128 + number)


def _not_running(daemon: Daemon, container: Container) -> str:
    return f"{daemon.flavour.say('Container', 'container')} {container.id} is not running"


def require_running(daemon: Daemon, container: Container) -> None:
    """Raises Conflict."""
    if not container.running:
        raise Conflict(_not_running(daemon, container))


def pause(daemon: Daemon, reference: str) -> None:
    container = daemon.container(reference)
    require_running(daemon, container)
    if container.status == "paused":
        raise Conflict(f"Container {container.id} is already paused")
    container.status = "paused"
    container.changed()
    daemon.emit_container(container, "pause")


def unpause(daemon: Daemon, reference: str) -> None:
    container = daemon.container(reference)
    if container.status != "paused":
        raise DockerError(f"Container {container.id} is not paused")
    container.status = "running"
    container.changed()
    daemon.emit_container(container, "unpause")


def set_health(daemon: Daemon, container: Container, status: str) -> None:
    """An event once per change."""
    if container.health != status:
        container.health = status
        container.changed()
        daemon.emit_container(container, f"health_status: {status}")


# ---------------------------------------------------------------- output and waiting


def write(daemon: Daemon, container: Container, text: bytes, *, stream: int = 1) -> None:
    """The process writes: into the log, line by line, and to whoever is attached."""
    if container.log is None:
        container.log = []
    for line in text.splitlines(keepends=True) if len(text) < 1 << 14 else (text,):
        container.log.append(LogLine(daemon.now(), stream, line))
    if len(container.log) > LOG_LINES:
        del container.log[: LOG_LINES // 2]
    for output in tuple(container.outputs or ()):
        output(stream, text)


def _close_outputs(container: Container) -> None:
    outputs, container.outputs = container.outputs, None
    for output in outputs or ():
        output(0, b"")


def attach(container: Container, output: Callable[[int, bytes], None]) -> Callable[[], None]:
    """`output` is told (stream, bytes), and (0, b"") when the process ends; returns the function that leaves."""
    if container.outputs is None:
        container.outputs = []
    container.outputs.append(output)

    def leave() -> None:
        if container.outputs and output in container.outputs:
            container.outputs.remove(output)

    return leave


def tell(container: Container, what: str, code: int) -> None:
    waiters, container.waiters = container.waiters, None
    for waiter in waiters or ():
        waiter(what, code)


def wait(container: Container, condition: str, done: Callable[[int], None]) -> Callable[[], None]:
    """Calls `done(code)` once, perhaps at once; returns the function that gives up."""
    alive = True

    def waiter(what: str, code: int) -> None:
        nonlocal alive
        if not alive:
            return
        if condition == "removed" and what == "exit":
            container.waiters = [*(container.waiters or ()), waiter]
            return
        alive = False
        done(code)

    def give_up() -> None:
        nonlocal alive
        alive = False

    if condition == "not-running" and not container.running:
        done(container.exit_code)
    else:
        container.waiters = [*(container.waiters or ()), waiter]
    return give_up
