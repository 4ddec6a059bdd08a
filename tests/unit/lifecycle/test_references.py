from __future__ import annotations

import pytest

from swarmproxy.lifecycle.references import parse
from swarmproxy.model.errors import BadRequest

D = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        ("busybox", "busybox:latest"),
        ("busybox:1.36", "busybox:1.36"),
        ("library/busybox", "busybox:latest"),
        ("docker.io/library/busybox:latest", "busybox:latest"),
        ("docker.io/user/app", "user/app:latest"),
        ("user/app:v1", "user/app:v1"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("reg.example.com/a/b:c", "reg.example.com/a/b:c"),
        (f"busybox@{D}", f"busybox@{D}"),
        (f"busybox:1@{D}", f"busybox@{D}"),
    ],
)
def test_familiar_form(text: str, familiar: str) -> None:
    assert parse(text).familiar == familiar


@pytest.mark.parametrize("text", ["", ":", "a:", "a b", "UPPER case", "a@sha256:12", "-a", "a//b", "a:b:c"])
def test_garbage_is_refused_in_dockers_words(text: str) -> None:
    with pytest.raises(BadRequest, match="^invalid reference format"):
        parse(text)


def test_upper_case_is_named() -> None:
    with pytest.raises(BadRequest) as caught:
        parse("BusyBox")
    assert caught.value.message == "invalid reference format: repository name (library/BusyBox) must be lowercase"
