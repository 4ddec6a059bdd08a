"""Listening in to BuildKit: nothing is changed or lost, tags are found, the end of a build is held."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from swarmproxy.api.buildrpc import (
    DATA,
    END_STREAM,
    HEADERS,
    PADDED,
    PREFACE,
    Answering,
    Frames,
    FromLines,
    Sending,
    Solves,
    solve_tags,
)
from swarmproxy.api.hijack import End


def field(number: int, value: bytes) -> bytes:
    assert len(value) < 1 << 14
    length = bytes([len(value)]) if len(value) < 128 else bytes([len(value) & 0x7F | 0x80, len(value) >> 7])
    return bytes([number << 3 | 2]) + length + value


def pair(key: str, value: str) -> bytes:
    return field(1, key.encode()) + field(2, value.encode())


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def grpc(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


OLD = field(1, b"ref") + field(3, b"moby") + field(4, pair("name", "docker.io/library/a:1,b:2")) + field(5, b"uuid")
NEW = field(1, b"ref") + field(13, field(1, b"moby") + field(2, pair("name", "a:1")) + field(2, pair("push", "false")))
NO_NAME = field(1, b"ref") + field(4, pair("push", "true"))
STATUS = field(1, b"ref")


@pytest.mark.parametrize(
    "message, tags",
    [(OLD, ["docker.io/library/a:1", "b:2"]), (NEW, ["a:1"]), (NO_NAME, []), (STATUS, []), (b"\xff" * 20, []),
     (b"", []), (b"\x22\x05ab", []), (b"\x22", [])],
)  # fmt: skip
def test_tags_are_read_from_a_solve_and_from_nothing_else(message: bytes, tags: list[str]) -> None:
    assert solve_tags(message) == tags


def pieces(data: bytes, seed: int) -> list[bytes]:
    rng, cut = random.Random(seed), []
    while data:
        size = rng.choice((1, 2, 9, 100, 20_000))
        cut.append(data[:size])
        data = data[size:]
    return cut


CLIENT = (
    PREFACE + frame(4, 0, 0, b"") + frame(HEADERS, 4, 1, b"status") + frame(DATA, END_STREAM, 1, grpc(STATUS))
    + frame(HEADERS, 4, 3, b"solve") + frame(DATA, PADDED, 3, b"\x03" + grpc(OLD)[:7] + b"\0\0\0")
    + frame(6, 0, 0, b"pingpong") + frame(DATA, END_STREAM, 3, grpc(OLD)[7:])
    + frame(HEADERS, 4, 5, b"big") + frame(DATA, 0, 5, b"\0\xff\xff\xff\xff" + b"x" * 30_000) + frame(DATA, 1, 5, b"")
)  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_solves_are_found_however_the_bytes_are_cut(seed: int) -> None:
    solves = Solves()
    for piece in pieces(CLIENT, seed):
        solves.feed(piece)
    assert solves.tags == {3: ["docker.io/library/a:1", "b:2"]}


@pytest.mark.parametrize("seed", range(8))
def test_frames_give_back_every_byte(seed: int) -> None:
    frames, data = Frames(), CLIENT[len(PREFACE) :] + b"half"
    given = b"".join(bytes for piece in pieces(data, seed) for bytes, _, _ in frames.feed(piece))
    assert given + frames.rest() == data


@pytest.mark.parametrize(
    "text, names",
    [(b"FROM busybox\n", ["busybox"]), (b"FROM --platform=linux/amd64 host:5000/a/b:1.2@sha256:ab AS x\n",
                                        ["host:5000/a/b:1.2@sha256:ab"]),
     (b"\x0a\x10FROM app\x00", ["app"]), (b"COPY --from=tools:1 /a /b\n", ["tools:1"]), (b"FROM scratch\n", []),
     (b"FROM $BASE\n", []), (b"FROM a\nFROM b\nFROM a\n", ["a", "b"]), (b"FROM a", [])],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_what_a_dockerfile_is_from(text: bytes, names: list[str], size: int) -> None:
    lines = FromLines()
    assert [name for at in range(0, len(text), size) for name in lines.feed(text[at : at + size])] == names


def test_a_folder_full_of_words_is_not_looked_up_for_ever() -> None:
    lines = FromLines()
    assert 0 < len(lines.feed(b"".join(b"SELECT 1 FROM t%d;\n" % n for n in range(1000)))) <= 50


class Wire:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.sent, self.shut, self.reading = b"", False, True

    def write(self, data: bytes) -> None:
        self.sent += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.shut = True

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


class Work:
    """What happens to the names, ended by the test."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.done = asyncio.Event()

    async def __call__(self, names: list[str]) -> None:
        self.asked.append(names)
        await self.done.wait()


def joined(side: End) -> Wire:
    """The wire of the other side."""
    other: Any = Wire()
    side.peer = End(other)
    side.peer.peer = side
    return other  # type: ignore[no-any-return]


def answering(work: Work, solves: Solves) -> tuple[Answering, Wire, Wire]:
    own: Any = Wire()
    side = Answering(own, work, solves)
    return side, own, joined(side)


TRAILERS = frame(HEADERS, 4 | END_STREAM, 3, b"grpc-status")
BEFORE = frame(4, 0, 0, b"") + frame(HEADERS, 4, 3, b"head") + frame(DATA, 0, 3, grpc(b"")) + frame(DATA, 0, 1, b"log")


async def test_the_end_of_a_build_waits_for_its_tags() -> None:
    work, solves = Work(), Solves()
    solves.feed(CLIENT)
    side, own, client = answering(work, solves)
    side.data_received(BEFORE + TRAILERS[:4])
    assert client.sent == BEFORE
    side.data_received(TRAILERS[4:] + frame(6, 0, 0, b"pingpong"))
    side.eof_received()
    await asyncio.sleep(0)
    assert (client.sent, client.shut, own.reading, work.asked) == (
        BEFORE, False, False, [["docker.io/library/a:1", "b:2"]])  # fmt: skip
    work.done.set()
    await side.settled()
    assert client.sent == BEFORE + TRAILERS + frame(6, 0, 0, b"pingpong")
    assert client.shut and own.reading


async def test_a_build_that_failed_sets_no_tags() -> None:
    work, solves = Work(), Solves()
    solves.feed(CLIENT)
    side, _, client = answering(work, solves)
    side.data_received(TRAILERS)
    assert (client.sent, work.asked) == (TRAILERS, [])


async def test_other_calls_are_not_held() -> None:
    work = Work()
    side, _, client = answering(work, Solves())
    side.data_received(BEFORE + TRAILERS)
    assert client.sent == BEFORE + TRAILERS


async def test_a_dockerfile_waits_for_the_images_that_it_names() -> None:
    work, own = Work(), Wire()
    side = Sending(own, work)  # type: ignore[arg-type]
    engine = joined(side)
    side.data_received(b"first ")
    side.data_received(b"FROM base:1\nRUN x\n")
    side.data_received(b"FROM other\n")
    await asyncio.sleep(0)
    assert (engine.sent, own.reading, work.asked) == (b"first ", False, [["base:1"]])
    work.done.set()
    while side._work is not None:
        await side.settled()
    assert engine.sent == b"first FROM base:1\nRUN x\nFROM other\n"
    assert work.asked == [["base:1"], ["other"]]
