from __future__ import annotations

import errno
import socket

import aiohttp
import pytest

from swarmproxy.engine import reason
from swarmproxy.engine.address import Address
from swarmproxy.engine.deadline import BULK, LASTING, QUICK, STOP, STREAM, WORK
from swarmproxy.engine.version import common


@pytest.mark.parametrize(
    ("text", "stored", "shown"),
    [
        ("10.0.0.1:2375", "http://10.0.0.1:2375", "tcp://10.0.0.1:2375"),
        ("tcp://host", "http://host:2375", "tcp://host:2375"),
        ("https://host/", "https://host:2376", "tcp://host:2376"),
        ("http://[fd00::1]:99", "http://[fd00::1]:99", "tcp://[fd00::1]:99"),
        ("unix:///run/docker.sock", "unix:///run/docker.sock", "unix:///run/docker.sock"),
        ("/run/docker.sock", "unix:///run/docker.sock", "unix:///run/docker.sock"),
    ],
)
def test_addresses(text: str, stored: str, shown: str) -> None:
    address = Address.parse(text)
    assert (address.text, address.shown) == (stored, shown)
    assert Address.parse(stored) == address


@pytest.mark.parametrize(
    "text", ["", "http://", "ftp://x", "unix://relative", "host:port", "host:99999", "http://a/b", "a@b", "ssh://h"]
)
def test_what_is_no_address_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=repr(text)[1:-1] if text else "address"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("deadline", "query", "total"),
    [
        (QUICK, "t=60", 5.0),
        (WORK, "", 30.0),
        (WORK, "t=60", 90.0),
        (STOP, "", 40.0),
        (STOP, "signal=INT&t=1", 31.0),
        (STOP, "t=-1", None),
        (STOP, "t=soon", 40.0),
        (STOP, "at=7", 40.0),
        (LASTING, "t=1", None),
        (STREAM, "t=1", None),
        (BULK, "", None),
    ],
)
def test_a_stop_time_out_moves_the_deadline(deadline: object, query: str, total: float | None) -> None:
    assert deadline.for_query(query).total == total  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("asked", "minimum", "maximum", "sent"),
    [
        (None, "1.12", "1.41", "1.41"),
        ("1.30", "1.12", "1.41", "1.30"),
        ("1.45", "1.12", "1.41", "1.41"),
        ("1.9", "1.24", "1.45", "1.24"),
        ("1.9", "", "1.45", "1.9"),
        ("1.41.0", "", "1.41", "1.41"),
    ],
)
def test_the_version_sent_is_one_that_the_engine_speaks(
    asked: str | None, minimum: str, maximum: str, sent: str
) -> None:
    assert common(asked, minimum, maximum) == sent


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "connection refused"),
        (OSError(errno.EHOSTUNREACH, "x"), "no route to host"),
        (OSError(errno.EMFILE, "x"), "too many open files"),
        (socket.gaierror(-2, "x"), "no such host"),
        (ConnectionError("The answer is not HTTP"), "the answer is not http"),
        (aiohttp.ServerDisconnectedError(), "connection closed before an answer"),
        (aiohttp.ClientPayloadError("x"), "connection broke within the answer"),
        (RuntimeError("one\ntwo"), "one"),
        (ValueError(), "valueerror"),
        (OSError("Multiple exceptions: [Errno 111] Connect ('::1', 1), [Errno 111] Connect"), "connection refused"),
    ],
)
def test_reasons_are_short(problem: BaseException, words: str) -> None:
    assert reason.of(problem) == words
