"""One node: a machine as far as its engine, its agent and its containers can tell.

Own network, mount, UTS, IPC and PID namespaces, and `tini` as first process; dockerd is not that process, so it can
die and come back inside the same "machine", and when the first process is killed everything is gone, as in a power
cut. Private are /run whole (plugin sockets, pid files, shim sockets and network namespaces vanish with the node),
/etc/docker (the engine's identity), /etc/hosts, /etc/resolv.conf and the folders of `plan.sight`. The rest is the
machine's own file system, and so is the kernel.
Cost: 1.7 s from nothing to an answering engine, 1 s of it dockerd's own pause for a socket without TLS; 130 MB of
resident memory for dockerd and containerd.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import swarmproxy
from swarmproxy.lab import images, network, processes
from swarmproxy.lab.command import LabError, fetch, fetch_json, run, tail, wait_until
from swarmproxy.lab.packages import Engine
from swarmproxy.lab.plan import ENGINE_PORT, MAX_NODES, Plan, Sight, Target, sight

DAEMONS = ("dockerd", "containerd")
PACKAGE = Path(swarmproxy.__file__).resolve().parent
# A minute: an engine without live-restore first stops the containers it finds, 10 s for each that ignores SIGTERM.
_ENGINE_SECONDS = 60
_PLUGIN_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a lab, up or not."""

    plan: Plan
    target: Target
    engine: Engine

    @property
    def name(self) -> str:
        return str(self.target)

    @property
    def unit(self) -> str:
        return self.plan.unit(self.target)

    @property
    def address(self) -> str:
        return self.plan.address(self.target.number)

    @property
    def url(self) -> str:
        """For DOCKER_HOST."""
        return f"tcp://{self.address}:{ENGINE_PORT}"

    @property
    def http_url(self) -> str:
        return f"http://{self.address}:{ENGINE_PORT}"

    @property
    def folder(self) -> Path:
        return self.plan.folder / self.target.unit

    @property
    def socket(self) -> Path:
        """The engine's unix socket, on the host."""
        return self.folder / "docker.sock"

    @property
    def agent_log(self) -> Path:
        return self.folder / "agent.log"

    @property
    def engine_log(self) -> Path:
        return self.folder / "dockerd.log"

    @property
    def flavour(self) -> str:
        """The release its engine comes from."""
        return self.engine.suite

    @property
    def init(self) -> int | None:
        """The node's first process, as the host counts; None: the node is off."""
        return processes.init_of(self.unit)

    def root(self) -> Path:
        """The node's file system, seen from the host."""
        return Path(f"/proc/{self.running()}/root")

    def running(self) -> int:
        init = self.init
        if init is None:
            raise LabError(f"{self.name} is off")
        return init

    # ------------------------------------------------------------------------------------------ the machine

    def power_on(self) -> None:
        """Namespaces, first process and name server; a node that runs and is plugged in stays as it is."""
        processes.thaw(self.unit)
        if self.init is None or not network.plugged(self.plan, self.target):
            self.power_off()
            network.plug_in(self.plan, self.target)
            for folder in ("etc", "data", "agent"):
                (self.folder / folder).mkdir(parents=True, exist_ok=True)
            (self.folder / "hosts").write_text(hosts_file(self.plan))
            (self.folder / "resolv.conf").write_text(f"nameserver {self.address}\n")
            log = self.folder / "init.log"
            log.unlink(missing_ok=True)
            unshare = "unshare --mount --uts --ipc --pid --fork --kill-child --mount-proc sh -c".split()
            processes.start(
                [*unshare, boot_script(self.name, self.folder, what_nodes_see(self.plan))],
                unit=self.unit,
                role="init",
                log=log,
                into=["nsenter", f"--net={processes.NETNS / self.unit}"],
            )
            try:
                wait_until(lambda: self.init is not None, seconds=10, what=f"{self.name} does not boot",
                           alive=lambda: processes.pids(self.unit, "init"))  # fmt: skip
            except LabError as error:
                raise LabError(f"{error}\n{tail(log)}") from None
        processes.send(processes.pids(self.unit, "resolver"), signal.SIGCONT)
        if not processes.pids(self.unit, "resolver"):
            self.start(python("swarmproxy.lab.resolver", self.address), role="resolver", log=self.folder / "init.log")

    def power_off(self) -> None:
        """As if the cable were pulled. Its address goes on answering, with refusals; `network.set_link` for silence."""
        processes.end_unit(self.unit)
        processes.drop_groups(self.unit)

    def enter(self) -> list[str]:
        """A command line that continues inside the node. -r: or a lab inside a chroot would land in the real root."""
        return ["nsenter", "-a", "-r", "-t", str(self.running()), "--"]

    def start(self, argv: Sequence[str], *, role: str, log: Path, env: Mapping[str, str] | None = None) -> None:
        """Start a daemon in the node."""
        processes.start(argv, unit=self.unit, role=role, log=log, into=self.enter(), env=env)

    def execute(
        self, argv: Sequence[str], *, seconds: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return run([*self.enter(), *argv], timeout=seconds, check=check)

    # ------------------------------------------------------------------------------------------ the engine

    def daemons(self) -> set[int]:
        return processes.named(self.unit, "engine", DAEMONS)

    def start_engine(self, loaded: images.Images, extra: Sequence[str] = ()) -> None:
        """An answering engine that has the lab's images; one that hangs is woken, one that runs is kept."""
        processes.send(self.daemons(), signal.SIGCONT)
        if not self._both():
            # What is left of the pair goes too (shims live on): a dockerd that lost its containerd answers, but for
            # 12 s it starts no container, and a new dockerd does not take over an old containerd.
            processes.end(self.daemons(), what=f"{self.name}: engine")
            path = os.pathsep.join((*self.engine.path, os.environ.get("PATH", ""), "/usr/sbin:/usr/bin:/sbin:/bin"))
            self.start(
                ["sh", "-c", _ENGINE_START, "dockerd", *dockerd_arguments(self), *extra],
                role="engine",
                log=self.engine_log,
                env={**os.environ, "PATH": path},
            )
        try:
            wait_until(
                lambda: self._both() and fetch(f"{self.http_url}/_ping") is not None,
                seconds=_ENGINE_SECONDS,
                what=f"{self.name}: no answer from the engine",
                alive=self._starting,
            )
        except LabError as error:
            raise LabError(f"{error}\n{tail(self.engine_log)}") from None
        images.load(self.http_url, loaded)

    def _both(self) -> bool:
        return len({processes.comm(pid) for pid in self.daemons()}) == len(DAEMONS)

    def _starting(self) -> bool:
        return bool(processes.pids(self.unit, "engine"))

    def version(self) -> str | None:
        seen = fetch_json(f"{self.http_url}/version")
        return seen.get("Version") if isinstance(seen, dict) else None

    # ------------------------------------------------------------------------------------------ the agent

    def start_agent(self, extra: Sequence[str] = (), env: Mapping[str, str] | None = None) -> None:
        """`swarmproxy join` beside the engine; one that runs is kept."""
        processes.send(processes.pids(self.unit, "agent"), signal.SIGCONT)
        if not processes.pids(self.unit, "agent"):
            arguments = ["join", "--name", self.name, "--advertise", self.http_url, "--insecure"]
            arguments += ["--engine", "unix:///run/docker.sock", "--state", str(self.folder / "agent")]
            environment = {**python_environment(), **(env or {})}
            command = python("swarmproxy", *arguments, *extra, self.plan.etcd_url)
            self.start(command, role="agent", log=self.agent_log, env=environment)

    @property
    def knows_plugin(self) -> bool:
        """Whether the engine ever had the agent's plugin: if so, the agent has to be there before the engine starts,
        for dockerd blocks for a minute when one it knows is missing. A new engine knows none."""
        return self._plugin_mark.exists()

    @property
    def _plugin_mark(self) -> Path:
        return self.folder / "plugin-was-there"

    def await_plugin(self) -> None:
        """Until the agent's plugin socket is there: the node can have cluster networks."""
        try:
            wait_until(self.has_plugin, seconds=_PLUGIN_SECONDS, what=f"{self.name}: no plugin socket",
                       alive=lambda: processes.pids(self.unit, "agent"))  # fmt: skip
        except LabError as error:
            raise LabError(f"{error}\n{tail(self.agent_log, 12)}") from None
        self._plugin_mark.touch()

    def has_plugin(self) -> bool:
        """Whether somebody listens: the socket of a killed agent is still there."""
        try:
            return any(_listens(file) for file in (self.root() / "run/docker/plugins").glob("*.sock"))
        except LabError:
            return False


def _listens(file: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(file))
        except OSError:
            return False
    return True


_ENGINE_START = (
    'ulimit -n "$(ulimit -Hn)"; rm -f /run/docker.pid /run/docker/containerd/containerd.pid '
    '/run/docker/containerd/*.sock*; exec dockerd "$@"'
)


def python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def python_environment() -> dict[str, str]:
    """Also from a checkout that is not installed the daemons find this very package."""
    path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def dockerd_arguments(node: Node) -> list[str]:
    """Everything of the engine in its own folders; exec-root in the private /run, where real hosts have it."""
    return [
        *("--data-root", str(node.folder / "data")),
        *("--exec-root", "/run/docker"),
        *("--pidfile", "/run/docker.pid"),
        f"--cgroup-parent=/{node.unit}",
        *("--exec-opt", "native.cgroupdriver=cgroupfs"),
        *("--storage-driver", storage_driver(node.folder)),
        *("--shutdown-timeout", "1"),
        *("--insecure-registry", str(node.plan.subnet)),
        "--tls=false",
        *("-H", "unix:///run/docker.sock"),
        *("-H", f"unix://{node.socket}"),
        *("-H", node.url),
    ]


def storage_driver(folder: Path) -> str:
    """overlay2 does not stack on an overlay, which is what a container's own file system is."""
    kind = run(["stat", "-f", "-c", "%T", str(folder)]).stdout.strip()
    return "vfs" if kind == "overlayfs" else "overlay2"


def hosts_file(plan: Plan) -> str:
    lines = ["127.0.0.1 localhost", f"{plan.etcd_address} etcd"]
    lines += [f"{plan.address(number)} node-{number}" for number in range(1, MAX_NODES + 1)]
    return "\n".join(lines) + "\n"


def what_nodes_see(plan: Plan) -> Sight:
    """All but the places where clients keep files: homes, /srv, /tmp, the checkout, the folder `up` was called from."""
    checkout = PACKAGE.parent
    clients = [Path("/root"), Path("/home"), Path("/srv"), Path("/tmp"), Path.cwd()]
    if (checkout / "pyproject.toml").exists():
        clients.append(checkout)
    interpreter = Path(sys.executable).resolve().parent.parent
    needed = [PACKAGE, Path(sys.prefix), Path(sys.prefix).resolve(), Path(sys.base_prefix), interpreter, plan.base]
    return sight(needed=needed, clients=[folder for folder in clients if folder.is_dir()])


def boot_script(name: str, folder: Path, seen: Sight) -> str:
    """What a node does before its first process is its first process."""

    def q(path: Path) -> str:
        return shlex.quote(str(path))

    lines = [
        f"hostname {name}",
        "umount -l -R /run/netns 2>/dev/null || :",  # or this node would hold on to everybody else's
        "mount -t tmpfs -o mode=755 lab-run /run",
        "mkdir -p /run/docker/plugins /run/lock /run/netns",
    ]
    for number, path in enumerate(seen.keep):
        lines += [f"mkdir -p /run/.keep/{number}", f"mount --rbind {q(path)} /run/.keep/{number}"]
    for path in seen.hide:
        lines.append(f"mount -t tmpfs -o mode={'1777' if path == Path('/tmp') else '755'} lab-hidden {q(path)}")
    for number, path in enumerate(seen.keep):
        lines += [f"mkdir -p {q(path)}", f"mount --move /run/.keep/{number} {q(path)}"]
    lines.append("mkdir -p /etc/docker")
    for source, target in (("etc", "/etc/docker"), ("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")):
        lines.append(f"mount --bind {q(folder / source)} {target}")
    return "set -e; " + "; ".join(lines) + "; exec tini -s -- sleep infinity"
