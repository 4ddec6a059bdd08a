"""Running commands, waiting for conditions, fetching a page: the lab's only ways to touch the machine from Python.

Everything is synchronous: the lab is driven from a terminal, from make and from pytest fixtures, and what takes time
(engines starting) takes it in other processes; a few threads are enough. Every wait is bounded by the wall clock.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any

POLL = 0.03
# The lab speaks to its own namespaces and to loopback only: a proxy from the environment would break both.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class LabError(Exception):
    """Something the lab cannot do, in words for the person who asked."""


def say(text: str) -> None:
    """Progress, for people; results go to stdout."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def run(
    argv: Sequence[str], *, timeout: float = 60.0, env: Mapping[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run to the end and capture both outputs.

    Raises:
        LabError: it failed (with check), is not installed, or took longer than `timeout`.
    """
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=timeout, env=env
        )
    except FileNotFoundError:
        raise LabError(f"{argv[0]}: not installed") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(argv[:4])} …: no end after {timeout:.0f} s") from None
    if check and done.returncode != 0:
        words = (done.stderr or done.stdout).strip()[-600:]
        raise LabError(f"{' '.join(argv[:6])}: {words or f'exit status {done.returncode}'}")
    return done


def succeeds(*argv: str) -> bool:
    return run(argv, check=False).returncode == 0


def wait_until(
    seen: Callable[[], object], *, seconds: float, what: str, alive: Callable[[], object] | None = None
) -> None:
    """Wait until `seen()` is true; give up after `seconds`, or at once when `alive()` is false.

    Raises:
        LabError: "`what`: …", it did not come.
    """
    end = time.monotonic() + seconds
    while not seen():
        if alive is not None and not alive() and not seen():
            raise LabError(f"{what}: the process is gone")
        if time.monotonic() >= end:
            raise LabError(f"{what}: not within {seconds:.0f} s")
        time.sleep(POLL)


def fetch(url: str, *, timeout: float = 2.0) -> bytes | None:
    """The body of a GET answered with success, else None."""
    try:
        with _DIRECT.open(url, timeout=timeout) as answer:
            return bytes(answer.read())
    except (OSError, urllib.error.URLError, ValueError):
        return None


def fetch_json(url: str, *, timeout: float = 2.0) -> Any:
    body = fetch(url, timeout=timeout)
    try:
        return None if body is None else json.loads(body)
    except ValueError:
        return None


def upload(url: str, file: Path, *, timeout: float = 120.0) -> None:
    """POST a tar archive and read the answer to its end."""
    with file.open("rb") as body:
        request = urllib.request.Request(url, data=body, method="POST")
        request.add_header("Content-Type", "application/x-tar")
        request.add_header("Content-Length", str(file.stat().st_size))
        try:
            with _DIRECT.open(request, timeout=timeout) as answer:
                answer.read()
        except OSError as error:
            raise LabError(f"{url}: {error}") from error


def tail(log: Path, lines: int = 5) -> str:
    """The end of a log, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


@contextmanager
def locked(path: Path, *, seconds: float, what: str) -> Iterator[None]:
    """Hold a file lock; the holder may remove the file.

    Descriptors of Python are not inherited, so daemons started meanwhile don't keep the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    held: list[int] = []
    wait_until(lambda: _try_lock(path, held), seconds=seconds, what=f"another {what} is running")
    try:
        yield
    finally:
        os.close(held[0])


def _try_lock(path: Path, held: list[int]) -> bool:
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        flock(handle, LOCK_EX | LOCK_NB)
        if os.fstat(handle).st_ino == path.stat().st_ino:  # else its last holder removed it: a lock on nothing
            held.append(handle)
            return True
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return False
