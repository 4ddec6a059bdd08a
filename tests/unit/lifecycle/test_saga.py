from __future__ import annotations

import pytest

from swarmproxy.lifecycle.saga import Failpoints, Saga
from swarmproxy.model.errors import ServerError


async def done(value: str) -> str:
    return value


async def test_undo_runs_newest_first_and_only_for_finished_steps() -> None:
    undone: list[str] = []

    async def undo(value: str) -> None:
        undone.append(value)

    async def fail() -> str:
        raise ServerError("no")

    with pytest.raises(ServerError):
        async with Saga("s", Failpoints()) as saga:
            await saga.step("a", done("a"), undo=undo)
            await saga.step("b", done("b"), undo=undo)
            await saga.step("c", fail(), undo=undo)
    assert undone == ["b", "a"]


async def test_what_an_undo_leaves_is_said() -> None:
    async def undo(_: str) -> None:
        raise ServerError("engine gone")

    with pytest.raises(ServerError) as caught:
        async with Saga("s", Failpoints()) as saga:
            await saga.step("a", done("a"), undo=undo)
            raise ServerError("no")
    assert caught.value.message == "no (left behind: a: engine gone)"


async def test_a_failpoint_after_a_step_undoes_it() -> None:
    undone: list[str] = []

    async def undo(value: str) -> None:
        undone.append(value)

    with pytest.raises(ServerError, match=r"failpoint s\.a\.after"):
        async with Saga("s", Failpoints.from_environment("s.a.after=error")) as saga:
            await saga.step("a", done("a"), undo=undo)
    assert undone == ["a"]


def test_unknown_actions_are_refused() -> None:
    with pytest.raises(ValueError, match="the action is"):
        Failpoints.from_environment("create.claim.after=explode")
