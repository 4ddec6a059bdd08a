"""What a build's query asks of a node, and what of it the engine gets."""

from __future__ import annotations

import json
from typing import Any, cast
from urllib.parse import parse_qs, urlencode

import pytest

from swarmproxy.lifecycle import build
from swarmproxy.lifecycle.context import Cluster
from swarmproxy.model.errors import BadRequest

NOBODY = cast(Cluster, None)
"""Nothing of the cluster is looked at where no network is named."""


async def passed(args: Any, **more: str) -> tuple[build.BuildRequest, dict[str, list[str]]]:
    query = {"buildargs": args if isinstance(args, str) else json.dumps(args), **more}
    raw = urlencode(query)
    wanted = await build.read(NOBODY, query)
    return wanted, parse_qs(await build.engine_query(NOBODY, cast(Any, None), wanted, raw), keep_blank_values=True)


async def test_placement_words_are_ours_and_the_rest_is_the_engines() -> None:
    args = {"constraint:node": "=node-1", "affinity:image==x": None, "colour": "blue", "inherited": None}
    wanted, query = await passed(args, t="app:1", memory="1000", platform="linux/amd64")
    assert [one.text for one in wanted.request.constraints] == ["node==node-1"]
    assert [one.text for one in wanted.request.affinities] == ["image==x"]
    assert (wanted.request.memory, wanted.request.platform) == (1000, "linux/amd64")
    assert json.loads(query["buildargs"][0]) == {"colour": "blue", "inherited": None}
    assert query["t"] == ["app:1"]


@pytest.mark.parametrize("args", ["", "null", "{}", "nonsense", "[1]", '{"a":1}', '{"a": "b"}'])
async def test_a_query_without_placement_words_is_not_touched(args: str) -> None:
    raw = urlencode({"buildargs": args, "networkmode": "host", "t": "a b"})
    wanted = await build.read(NOBODY, {"buildargs": args, "networkmode": "host"})
    assert await build.engine_query(NOBODY, cast(Any, None), wanted, raw) == raw


async def test_a_malformed_constraint_is_refused() -> None:
    with pytest.raises(BadRequest):
        await passed({"constraint:node": "~~"})
