"""Where no lab can be: one proxy before this machine's own engine, a cluster of one, its state in SQLite.

For users without root, and machines whose package mirror is out of reach. Nothing is installed, no namespace or
control group is made, so the process is known by its pid file, and only together with its start time: a number alone
may long be somebody else's.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

from swarmproxy.lab.command import LabError, fetch, tail, wait_until
from swarmproxy.lab.node import python, python_environment
from swarmproxy.lab.plan import BASE, FIRST_PORTS

SOCKET = Path("/var/run/docker.sock")


def folder(name: str) -> Path:
    """Beside the real labs for root, in the user's own place for others."""
    if os.geteuid() == 0:
        return BASE / f"{name}-embedded"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "swarmproxy-lab" / name


def up(name: str, port: int = FIRST_PORTS[0]) -> list[str]:
    """Start the proxy, or keep the one that runs; what to tell the person."""
    here, url = folder(name), f"tcp://127.0.0.1:{port}"
    log = here / "proxy.log"
    if running(name) is None:
        here.mkdir(parents=True, exist_ok=True)
        command = python("swarmproxy", "manage", "-H", url, "--state", str(here / "proxy"))
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=python_environment(),
                start_new_session=True,
            )
        _pid_file(name).write_text(f"{process.pid} {_born(process.pid)}\n")
    try:
        wait_until(lambda: fetch(f"http://127.0.0.1:{port}/_ping") is not None, seconds=20,
                   what="no answer from the proxy", alive=lambda: running(name))  # fmt: skip
    except LabError as error:
        raise LabError(f"{error}\n{tail(log, 12)}") from None
    return [*status(name), "", f"export DOCKER_HOST={url}"]


def status(name: str) -> list[str]:
    """Nothing if it does not run."""
    pid = running(name)
    if pid is None:
        return []
    here = folder(name)
    lines = [f"proxy {pid} before this machine's own engine, a cluster of one; state and log in {here}"]
    if not has_engine():
        lines.append(f"No engine listens at {SOCKET}: install Docker and start it, the proxy will find it.")
    return lines


def down(name: str) -> bool:
    """Stop it and remove its state; whether there was any."""
    here = folder(name)
    pid = running(name)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        try:
            wait_until(lambda: running(name) is None, seconds=10, what="the proxy does not stop")
        except LabError:
            os.kill(pid, signal.SIGKILL)
    existed = here.exists()
    if existed:
        subprocess.run(["rm", "-rf", "--one-file-system", str(here)], check=False)
        with suppress(OSError):  # other labs, the cache
            here.parent.rmdir()
    return existed


def running(name: str) -> int | None:
    """Its process, if that is still the one we started."""
    try:
        pid, born = _pid_file(name).read_text().split()
        return int(pid) if _born(int(pid)) == born else None
    except (OSError, ValueError):
        return None


def has_engine() -> bool:
    try:
        return stat.S_ISSOCK(SOCKET.stat().st_mode) and os.access(SOCKET, os.R_OK | os.W_OK)
    except OSError:
        return False


def _pid_file(name: str) -> Path:
    return folder(name) / "proxy.pid"


def _born(pid: int) -> str:
    """Start time in clock ticks; "" for a process that is gone, also while its parent has not noticed."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]
