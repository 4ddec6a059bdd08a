"""The lab's processes: found, frozen and ended by control group, never by name alone.

Every process the lab starts enters the group UNIT/ROLE (`swpl-n1/engine`) before it is executed, and what it starts
stays below UNIT, containers included (dockerd gets UNIT as cgroup parent). So everything of a killed run is found
again without pid files, and nothing else ever is. Members of the unit's network namespace count too: a second way
in, should a group be gone. Both cgroup versions are served: on v1 the same path is made in a few hierarchies.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from swarmproxy.lab.command import LabError, tail, wait_until

CGROUPS = Path("/sys/fs/cgroup")
NETNS = Path("/run/netns")
# memory: what each engine takes; freezer: whole-host hangs; the rest in case one is missing. "." is cgroup v2's root.
_HIERARCHIES = ("memory", "freezer", "pids", "unified", ".")
_ASIDE = "lab-aside"  # see make_room


def make_room() -> None:
    """Inside a container on cgroup v2: let its top group have children that limit memory and CPU.

    The kernel allows that to a group without processes of its own only, the machine's real root excepted. So whatever
    runs in the container moves one level down, as in every Docker-in-Docker image.
    """
    here = CGROUPS / "cgroup.procs"
    if not (CGROUPS / "cgroup.type").exists():  # the real root, or v1
        return
    aside = CGROUPS / _ASIDE / "cgroup.procs"
    aside.parent.mkdir(exist_ok=True)
    _move(here, aside)
    _control("+")


def give_room_back() -> None:
    aside = CGROUPS / _ASIDE / "cgroup.procs"
    if aside.exists():
        _control("-")
        _move(aside, CGROUPS / "cgroup.procs")
        _rmdir(aside.parent)


def _move(source: Path, sink: Path) -> None:
    for pid in _numbers(source):
        try:
            sink.write_text(str(pid))
        except OSError:  # ended meanwhile, or a thread of the kernel
            continue


def _control(sign: str) -> None:
    for controller in (CGROUPS / "cgroup.controllers").read_text().split():
        try:
            (CGROUPS / "cgroup.subtree_control").write_text(sign + controller)
        except OSError:  # dockerd says what it misses, and what it can do without
            continue


def _groups(path: str) -> list[Path]:
    """The folders of one group, in every hierarchy that has it."""
    return [found for found in (CGROUPS / path, *CGROUPS.glob(f"*/{path}")) if found.is_dir()]


def groups_of(prefix: str) -> set[str]:
    """Names of all top-level groups that begin so."""
    return {p.name for pattern in (f"{prefix}*", f"*/{prefix}*") for p in CGROUPS.glob(pattern) if p.is_dir()}


def pids(unit: str, role: str = "") -> set[int]:
    """Living processes of a unit; with a role, those of that role only."""
    found: set[int] = set()
    for folder in _groups(f"{unit}/{role}" if role else unit):
        for inner in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
            found.update(_numbers(inner / "cgroup.procs"))
    if not role:
        found |= _netns_pids(unit)
    return {pid for pid in found if _state(pid) not in ("Z", "X", "")}


def _numbers(file: Path) -> set[int]:
    try:
        return {int(line) for line in file.read_text().split()} - {0}
    except OSError:
        return set()


def _netns_pids(unit: str) -> set[int]:
    try:
        wanted = (NETNS / unit).stat()
    except OSError:
        return set()
    found = set()
    for entry in Path("/proc").glob("[1-9]*"):
        try:
            seen = (entry / "ns/net").stat()
        except OSError:
            continue
        if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.add(int(entry.name))
    return found


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def named(unit: str, role: str, names: Collection[str]) -> set[int]:
    """Processes of a role whose command is one of `names`."""
    return {pid for pid in pids(unit, role) if comm(pid) in names}


def init_of(unit: str) -> int | None:
    """The node's first process as seen from here: pid 1 exactly one PID namespace below ours."""
    for pid in pids(unit, "init"):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
        if len(numbers) == 2 and numbers[1] == "1" and comm(pid) == "tini":
            return pid
    return None


def send(numbers: Collection[int], what: signal.Signals) -> None:
    for pid in numbers:
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            pass


def end(numbers: Collection[int], *, what: str) -> None:
    """SIGKILL, and wait until they are gone."""
    send(numbers, signal.SIGKILL)
    wait_until(lambda: all(_state(pid) in ("Z", "X", "") for pid in numbers), seconds=10, what=f"{what} does not die")


def end_unit(unit: str) -> None:
    """SIGKILL everything of the unit; the death of a node's pid 1 takes shims and containers along."""

    def gone() -> bool:
        left = pids(unit)
        send(left, signal.SIGKILL)
        thaw(unit)  # cgroup v1 delivers not even SIGKILL to a frozen process
        return not left

    wait_until(gone, seconds=15, what=f"{unit}: processes do not die")


def freeze(unit: str) -> None:
    """Stop every process of the unit at once, containers too, as a hung machine would."""
    if not _write_freezer(unit, "FROZEN", "1"):
        raise LabError(f"{unit}: no freezer among the control groups")


def thaw(unit: str) -> None:
    _write_freezer(unit, "THAWED", "0")


def _write_freezer(unit: str, version1: str, version2: str) -> bool:
    done = False
    for folder in _groups(unit):
        for name, word in (("freezer.state", version1), ("cgroup.freeze", version2)):
            if (folder / name).exists():
                try:
                    (folder / name).write_text(word)
                    done = True
                except OSError:
                    pass
    return done


def drop_groups(unit: str) -> None:
    """Remove the unit's groups. The kernel lets go of a dead process a moment after it is dead: hence the wait."""

    def gone() -> bool:
        for folder in _groups(unit):
            for inner in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
                _rmdir(inner)
            _rmdir(folder)
        return not _groups(unit)

    wait_until(gone, seconds=5, what=f"control group {unit} stays")


def _rmdir(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass


def start(
    argv: Sequence[str],
    *,
    unit: str,
    role: str,
    log: Path,
    into: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> None:
    """Start a daemon that outlives us, in its control group, its output appended to `log`.

    Args:
        into: an `nsenter …` command line to go through; the daemon then belongs to the namespace's own init.
    """
    enter = "; ".join(f"echo $$ >{shlex.quote(str(file))}" for file in _make_groups(f"{unit}/{role}"))
    command = ["sh", "-c", f'{enter}; exec "$@"', "sh", *into, "setsid", "--fork", *argv]
    with log.open("ab") as output:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", env=env, timeout=30
        )
    if done.returncode != 0:
        raise LabError(f"{argv[0]} does not start: {tail(log)}")


def _make_groups(path: str) -> list[Path]:
    files = []
    for hierarchy in _HIERARCHIES:
        root = CGROUPS / hierarchy
        if (root / "cgroup.procs").exists():
            (root / path).mkdir(parents=True, exist_ok=True)
            files.append(root / path / "cgroup.procs")
    if not files:
        raise LabError(f"no control groups below {CGROUPS}")
    return files
