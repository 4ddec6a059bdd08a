"""What went wrong with a connection, in the few words that stand behind a node's name."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl

import aiohttp

_BY_ERRNO = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection closed",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "no answer from the host",
    errno.ENOENT: "no such socket",
    errno.EACCES: "permission denied",
}


_SEVERAL = re.compile(r"Multiple exceptions: .*\[Errno (\d+)\]")


def seconds(value: float) -> str:
    return f"{value:g} s"


def of(problem: BaseException) -> str:
    """At most a line, lower case, without addresses."""
    if isinstance(problem, aiohttp.ClientConnectorDNSError | socket.gaierror):
        return "no such host"
    if isinstance(problem, aiohttp.ClientConnectorCertificateError):
        return f"certificate refused: {problem.certificate_error}"
    if isinstance(problem, aiohttp.ClientConnectorError):
        return of(problem.os_error)
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"certificate refused: {problem.verify_message or problem}"
    if isinstance(problem, ssl.SSLError):
        return f"TLS: {(problem.reason or str(problem)).replace('_', ' ').lower()}"
    if isinstance(problem, aiohttp.ServerDisconnectedError):
        return "connection closed before an answer"
    if isinstance(problem, aiohttp.ClientPayloadError):
        return "connection broke within the answer"
    if isinstance(problem, OSError):
        if problem.errno is None and (several := _SEVERAL.search(str(problem))):  # one a resolved address
            return of(OSError(int(several[1]), ""))
        if problem.errno is None:
            return (str(problem) or "connection lost").lower()
        return _BY_ERRNO.get(problem.errno) or os.strerror(problem.errno).lower()
    if isinstance(problem, aiohttp.ClientResponseError):
        return "the answer is not HTTP"
    return (str(problem) or type(problem).__name__).splitlines()[0][:120].lower()
