"""A Docker client on a terminal of its own."""

from __future__ import annotations

import os
import pty
import select
import struct
import termios
import time
from fcntl import ioctl

from tests.shared_lab import Cli


class Terminal:
    """Runs a command with 33 lines and 99 columns; the call goes to the next proxy."""

    def __init__(self, docker: Cli, *words: str) -> None:
        environment = docker.environment()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
            os.execvpe(docker.prefix[0], [*docker.prefix, *words], environment)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def shows(self, text: str, seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end and select.select([self.fd], [], [], seconds)[0], f"{text!r}: {self.seen!r}"
            self.seen += os.read(self.fd, 4096).decode(errors="replace")

    def ends(self, seconds: float = 10) -> int:
        """Its exit status."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and select.select([self.fd], [], [], seconds)[0]:
            try:
                self.seen += os.read(self.fd, 4096).decode(errors="replace")
            except OSError:  # the other side is closed
                os.close(self.fd)
                return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        raise AssertionError(f"no end of it: {self.seen!r}")
