"""Network namespaces by path, through libc.

`entered` switches the calling thread for the length of a `with` body that must not await: setns belongs to the thread,
so other code of the same loop would run in the wrong network. Failing to come back ends the process at once; a thread
in the wrong namespace would send another network's traffic.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["drop", "entered", "is_mounted", "make", "open_namespace"]

_CLONE_NEWNET = 0x40000000
_MS_BIND = 4096
_MNT_DETACH = 2
_LOST = 70
"""Exit status when a thread cannot return to its own namespace (EX_SOFTWARE)."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def open_namespace(path: Path | str) -> int:
    """A descriptor of the namespace; the caller closes it. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def entered(fd: int) -> Iterator[None]:
    """This thread is in the namespace inside the block. No await in there. Raises OSError."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(fd, _CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            if _libc.setns(home, _CLONE_NEWNET):
                os._exit(_LOST)
    finally:
        os.close(home)


def is_mounted(path: Path) -> bool:
    """A namespace is kept at `path`."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except FileNotFoundError:
        return False


def make(path: Path) -> None:
    """A new, empty namespace kept at `path`. Raises OSError.

    A short-lived thread does it: unshare would leave the caller's thread in the new namespace.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    failed: list[OSError] = []

    def work() -> None:
        try:
            _check(_libc.unshare(_CLONE_NEWNET), "unshare")
            source = b"/proc/self/task/%d/ns/net" % threading.get_native_id()
            _check(_libc.mount(source, os.fsencode(path), b"none", _MS_BIND, None), f"mount {path}")
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="netns")
    thread.start()
    thread.join()
    if failed:
        with contextlib.suppress(OSError):
            path.unlink()
        raise failed[0]


def drop(path: Path) -> None:
    """Takes the name away; the namespace ends with its last user. Nothing there is no error."""
    _libc.umount2(os.fsencode(path), _MNT_DETACH)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
