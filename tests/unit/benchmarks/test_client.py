from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.client import Client
from benchmarks.ground import decoded


@contextmanager
def server(*replies: list[bytes]) -> Iterator[int]:
    """Answers each request with the next reply, in the pieces given."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                for pieces in replies:
                    connection.recv(65536)
                    for piece in pieces:
                        connection.sendall(piece)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(5)


def test_whole_bodies_are_read_and_the_connection_is_kept() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with (
        server(
            [b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 4\r\n\r\n", b"[1]", b"\n"],
            [b"HTTP/1.1 204 No Content\r\n\r\n"],
            [chunked + b"2\r\n[1\r\n", b"2\r\n,2\r\n1\r\n]\r\n", b"0\r\n\r\n"],
            [chunked + b"0\r\n\r\n"],
        ) as port,
        Client("127.0.0.1", port) as client,
    ):
        get = client.request("GET", "/x")
        assert client.ask(get) == (200, b"[1]\n")
        assert client.ask(get) == (204, b"")
        status, body = client.ask(get)
        assert (status, decoded(body)) == (200, [1, 2])
        assert client.ask(get) == (200, b"0\r\n\r\n")


def test_what_must_work_says_what_did_not() -> None:
    with (
        server([b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nabsent"]) as port,
        Client("127.0.0.1", port) as client,
        pytest.raises(RuntimeError, match="GET /x: 404 absent"),
    ):
        client.must("GET", "/x", status=(200,))


def test_a_connection_cut_in_the_middle_is_an_error() -> None:
    with (
        server([b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab"]) as port,
        Client("127.0.0.1", port) as client,
        pytest.raises(ConnectionError),
    ):
        client.ask(client.request("GET", "/x"))
