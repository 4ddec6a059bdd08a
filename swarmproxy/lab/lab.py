"""A whole lab: up, down, and everything people and tests do to it in between.

`up` is idempotent and repairs: it keeps what answers, wakes what hangs, switches on what is off, restarts what died.
`down` goes by the lab's prefix, not by what it remembers, so it also removes what a killed `up` left. One lock per
lab keeps two of them apart; another guards what all labs share (packages, images, the choice of a subnet).
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from swarmproxy.lab import etcd, images, network, packages, processes
from swarmproxy.lab.command import LabError, locked, run
from swarmproxy.lab.node import DAEMONS, Node
from swarmproxy.lab.packages import Engine
from swarmproxy.lab.plan import BASE, DEFAULT_NAME, Plan, PlanError, Target, Wish, parse_subnet, settle
from swarmproxy.lab.proxies import Proxy

PARTS = ("host", "engine", "agent")


class Lab:
    """One lab by name; made by `up`, gone after `down`, usable from any process meanwhile.

    Args:
        name: nine small letters and digits at most; the lab's folder, namespaces and groups are called so.
        subnet, ports, nodes: default to what the lab remembers, then to what is free; see `plan.settle`.
        cluster: also `swarmproxy join` on every node and the proxies; else engines and etcd only. Remembered, too.
    """

    def __init__(
        self,
        *,
        name: str = DEFAULT_NAME,
        subnet: str | None = None,
        ports: Sequence[int] | None = None,
        nodes: int | None = None,
        cluster: bool | None = None,
        base: Path = BASE,
    ) -> None:
        self.wish = Wish(
            name=name,
            subnet=None if subnet is None else parse_subnet(subnet),
            ports=None if ports is None else tuple(ports),
            nodes=nodes,
            cluster=cluster,
        )
        self.base = base
        self.plan = settle(self.wish, states=_states(base), base=base)

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()

    # ------------------------------------------------------------------------------------------ what there is

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def folder(self) -> Path:
        return self.plan.folder

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node of the plan, up or not."""
        older, newer = self._engines()
        return tuple(Node(self.plan, t, newer if t.number % 3 == 0 else older) for t in self.plan.targets)

    @property
    def proxies(self) -> tuple[Proxy, ...]:
        return tuple(Proxy(self.plan, number) for number in range(1, len(self.plan.ports) + 1))

    @property
    def proxy_urls(self) -> tuple[str, ...]:
        return tuple(proxy.url for proxy in self.proxies)

    @property
    def etcd_url(self) -> str:
        return self.plan.etcd_url

    @property
    def client_folder(self) -> Path:
        """For DOCKER_CONFIG: a configuration of its own, with Compose and buildx as plugins."""
        return self.folder / "client"

    def node(self, which: Node | str | int) -> Node:
        """By number, by name, or itself."""
        if isinstance(which, Node):
            return which
        target = Target.parse(str(which))
        for node in self.nodes:
            if node.target == target:
                return node
        raise LabError(f"no {target} in lab {self.name}")

    def client_env(self, proxy: int = 1) -> dict[str, str]:
        """What a Docker client needs in its environment to speak to one of the proxies."""
        return {"DOCKER_CONFIG": str(self.client_folder), "DOCKER_HOST": Proxy(self.plan, proxy).url}

    def node_env(self, which: Node | str | int) -> dict[str, str]:
        """The same for one node's engine itself."""
        return {"DOCKER_CONFIG": str(self.client_folder), "DOCKER_HOST": self.node(which).url}

    # ------------------------------------------------------------------------------------------ up and down

    def up(self) -> None:
        """
        Raises:
            LabError: with the reason in words, and what was started left as it is for a look; `down` removes it.
        """
        _check_root()
        with self._lock():
            have, loaded = self._prepare()
            network.raise_switch(self.plan)
            network.heal(self.plan)
            self._drop_surplus()
            self._make_client_folder(have)
            steps: list[Callable[[], None]] = [lambda: etcd.start(self.plan)]
            steps += [lambda node=node: self._raise_node(node, loaded) for node in self.nodes]  # type: ignore[misc]
            _together(steps)
            if self.plan.cluster:
                _together([lambda p=proxy: self._raise_proxy(p) for proxy in self.proxies])  # type: ignore[misc]

    def _prepare(self) -> tuple[packages.Packages, images.Images]:
        """What labs share, and this lab's place among the others, written down."""
        with self._shared_lock():
            self.plan = settle(self.wish, states=_states(self.base), base=self.base)
            try:
                have = packages.provide(self.plan.cache)
            except LabError as error:
                raise Unavailable(f"packages cannot be had: {error}") from error
            network.check_free(self.plan)
            processes.make_room()
            loaded = images.prepare(self.plan.cache)
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_state(self.plan, have)
        return have, loaded

    def _drop_surplus(self) -> None:
        """What is there of a lab that had more nodes or proxies."""
        prefix = f"{self.name}-"
        wanted = {node.unit for node in self.nodes} | {proxy.unit for proxy in self.proxies}
        wanted |= {self.plan.switch, self.plan.unit(etcd.ETCD)}
        for unit in (processes.groups_of(prefix) | network.namespaces_of(prefix)) - wanted:
            self._drop_unit(unit)
            run(["rm", "-rf", "--one-file-system", str(self.folder / unit.removeprefix(prefix))], timeout=120)

    def _drop_unit(self, unit: str) -> None:
        processes.end_unit(unit)
        network.drop_namespace(unit)
        processes.drop_groups(unit)

    def _raise_node(self, node: Node, loaded: images.Images) -> None:
        node.power_on()
        if self.plan.cluster:
            node.start_agent()
            if node.knows_plugin and not node.daemons():
                node.await_plugin()
        node.start_engine(loaded, self._extra_engine_arguments())
        if self.plan.cluster:
            node.await_plugin()

    def _raise_proxy(self, proxy: Proxy) -> None:
        proxy.start(discovery=self.etcd_url)
        proxy.await_nodes(len(self.nodes))

    def down(self, *, everything: bool = False) -> None:
        """Remove what `up` made. The cache stays, unless `everything`, and then also only if no other lab needs it."""
        _check_root()
        with self._lock():
            prefix = f"{self.name}-"
            units = processes.groups_of(prefix) | network.namespaces_of(prefix)
            # Proxies and agents first: they would only watch the rest die.
            for unit in sorted(units, key=lambda unit: (unit == self.plan.switch, not unit.startswith(f"{prefix}p"))):
                self._drop_unit(unit)
            network.drop_host_link(self.plan)
            with self._shared_lock():
                run(["rm", "-rf", "--one-file-system", str(self.folder)], timeout=120)
                self._lock_file.unlink(missing_ok=True)
                packages.drop_guard()
                if not _states(self.base):
                    network.drop_netns_folder(self.base)
                    processes.give_room_back()
                    if everything:
                        _remove_base(self.base)

    # ------------------------------------------------------------------------------------------ parts

    def start_node(self, which: Node | str | int) -> None:
        """Switch one node on again after `kill`, or bring back what of it has died."""
        with self._lock():
            self._raise_node(self.node(which), images.prepare(self.plan.cache))

    def start_engine(self, which: Node | str | int, *extra: str) -> None:
        """dockerd after `kill(part="engine")`; `extra` are flags beside the lab's own."""
        self.node(which).start_engine(images.prepare(self.plan.cache), [*self._extra_engine_arguments(), *extra])

    def start_agent(self, which: Node | str | int, *extra: str, env: Mapping[str, str] | None = None) -> None:
        self.node(which).start_agent(extra, env)

    def start_etcd(self) -> None:
        with self._lock():
            etcd.start(self.plan)

    def start_proxy(
        self, number: int, *extra: str, env: Mapping[str, str] | None = None, discovery: str | None = None
    ) -> Proxy:
        """A proxy that answers its ping; `extra` flags beside the lab's own, `discovery` instead of its etcd."""
        proxy = Proxy(self.plan, number)
        proxy.start(extra, discovery=discovery or self.etcd_url, env=env)
        return proxy

    def kill_proxy(self, number: int) -> None:
        Proxy(self.plan, number).kill()

    def exec(
        self, which: Node | str | int, argv: Sequence[str], *, seconds: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside a node, all its namespaces."""
        return self.node(which).execute(argv, seconds=seconds, check=check)

    # ------------------------------------------------------------------------------------------ faults

    def stop(self, which: Node | str | int, part: str = "host") -> None:
        """Hang: the whole host with its containers, or only its engine (containers run on) or its agent."""
        target = self._target(which)
        if part == "host":
            processes.freeze(self.plan.unit(target))
        else:
            self._signal(target, part, signal.SIGSTOP)

    def cont(self, which: Node | str | int, part: str = "host") -> None:
        """End a hang, whatever hangs."""
        target = self._target(which)
        processes.thaw(self.plan.unit(target))
        for each in PARTS[1:] if part == "host" and target.kind == "node" else (part,):
            processes.send(self._part(target, each), signal.SIGCONT)

    def kill(self, which: Node | str | int, part: str = "host") -> None:
        """A power cut, or the sudden death of the engine (containers run on) or of the agent."""
        target = self._target(which)
        if part != "host":
            processes.end(self._part(target, part), what=f"{target}: {part}")
        elif target.kind == "proxy":
            Proxy(self.plan, target.number).kill()
        else:
            processes.end_unit(self.plan.unit(target))
            processes.drop_groups(self.plan.unit(target))

    def link_down(self, which: Node | str | int) -> None:
        """Pull the cable of a node or of etcd: silence, packets are lost and nothing is refused."""
        network.set_link(self.plan, self._wired(which), up=False)

    def link_up(self, which: Node | str | int) -> None:
        network.set_link(self.plan, self._wired(which), up=True)

    def partition(self, one: Node | str | int, other: Node | str | int) -> None:
        """Nothing passes between these two, both still reach everybody else."""
        network.partition(self.plan, self._wired(one), self._wired(other))

    def heal(self) -> None:
        """End all partitions, push in all cables."""
        network.heal(self.plan)

    def _signal(self, target: Target, part: str, what: signal.Signals) -> None:
        found = self._part(target, part)
        if not found:
            raise LabError(f"{target}: no {part} runs")
        processes.send(found, what)

    def _part(self, target: Target, part: str) -> set[int]:
        unit = self.plan.unit(target)
        if target.kind != "node":
            return processes.pids(unit)
        return processes.named(unit, "engine", DAEMONS) if part == "engine" else processes.pids(unit, "agent")

    def _target(self, which: Node | str | int) -> Target:
        target = which.target if isinstance(which, Node) else Target.parse(str(which))
        if target.kind == "node" and target not in self.plan.targets:
            raise LabError(f"no {target} in lab {self.name}")
        return target

    def _wired(self, which: Node | str | int) -> Target:
        target = self._target(which)
        if target.kind == "proxy":
            raise LabError("a proxy runs on the host and has no cable of its own")
        return target

    # ------------------------------------------------------------------------------------------ inside

    def _engines(self) -> tuple[Engine, Engine]:
        """As `up` found them; written down so that other processes agree."""
        return _read_engines(self.folder)

    def _extra_engine_arguments(self) -> list[str]:
        """For trying out daemon flags, for example --live-restore."""
        return os.environ.get("SWARMPROXY_LAB_DOCKERD", "").split()

    def _make_client_folder(self, have: packages.Packages) -> None:
        plugins = self.client_folder / "cli-plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        for program in have.plugins:
            link = plugins / program.name
            if not link.exists():
                link.unlink(missing_ok=True)
                link.symlink_to(program)

    @property
    def _lock_file(self) -> Path:
        return self.base / f".{self.name}.lock"

    def _lock(self) -> AbstractContextManager[None]:
        return locked(self._lock_file, seconds=180, what=f"up or down of lab {self.name}")

    def _shared_lock(self) -> AbstractContextManager[None]:
        return locked(self.base / ".lock", seconds=900, what="lab's installation")


def _remove_base(base: Path) -> None:
    """All that labs share. The folder itself may be somebody's mount, or hold what is not ours."""
    run(["rm", "-rf", "--one-file-system", str(base / "cache"), str(base / ".lock")], timeout=120)
    with suppress(OSError):
        base.rmdir()


class Unavailable(LabError):
    """No lab can be made here; the machine's own engine may still serve."""


def _check_root() -> None:
    if os.geteuid() != 0:
        raise Unavailable("must be root: the lab makes namespaces and links")


def _states(base: Path) -> dict[str, str]:
    """Every lab of the machine and its remembered plan."""
    found = {}
    for file in base.glob("*/state.json"):
        try:
            found[file.parent.name] = file.read_text()
        except OSError:
            continue
    return found


def _write_state(plan: Plan, have: packages.Packages) -> None:
    lines = [" ".join((engine.suite.replace(" ", "-"), *engine.path)) for engine in (have.older, have.newer)]
    (plan.folder / "engines").write_text("\n".join(lines) + "\n")
    scratch = plan.folder / "state.json.new"
    scratch.write_text(plan.state())
    scratch.rename(plan.folder / "state.json")


def _read_engines(folder: Path) -> tuple[Engine, Engine]:
    try:
        rows = [line.split() for line in (folder / "engines").read_text().splitlines()]
        older, newer = (Engine(suite, tuple(path)) for suite, *path in rows)
    except (OSError, ValueError):
        raise LabError(f"no lab in {folder}: run `swarmproxy lab up`") from None
    return older, newer


def _together(steps: Iterable[Callable[[], None]]) -> None:
    """All steps side by side; what went wrong is told of each that failed, after all have ended."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        running = [pool.submit(step) for step in steps]
    errors = [error for one in running if (error := one.exception()) is not None]
    if other := next((error for error in errors if not isinstance(error, LabError | PlanError)), None):
        raise other
    if errors:
        raise LabError("\n".join(map(str, errors)))
