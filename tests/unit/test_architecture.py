"""The house: imports point one way, files and functions stay small enough to read at a glance."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "swarmproxy"

MAY_IMPORT: dict[str, set[str]] = {
    "model": set(),
    "discovery": {"model"},
    "engine": {"model"},
    "scheduler": {"model"},
    "cluster": {"engine", "discovery", "model"},
    "lifecycle": {"scheduler", "cluster", "engine", "discovery", "model"},
    "api": {"lifecycle", "scheduler", "cluster", "engine", "discovery", "model"},
    "security": {"model"},
    "overlay": {"discovery", "model"},
    "dns": {"discovery", "model"},
    "lab": set(),
    "testing": {"discovery", "model"},
    "proxy": {"api", "lifecycle", "scheduler", "cluster", "engine", "discovery", "security", "model"},
    "agent": {"overlay", "dns", "discovery", "model"},
    "cli": {"proxy", "agent", "api", "lifecycle", "scheduler", "discovery", "security", "lab", "model"},
}
"""Layer → layers below it that it may use; its own modules are always allowed."""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] not in ("__init__", "__main__"):
            yield parts[0], path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "swarmproxy":
                names = [f"swarmproxy.{alias.name}" for alias in node.names]
            else:
                names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("swarmproxy."):
                yield name.split(".")[1]


@pytest.mark.parametrize("layer", sorted({layer for layer, _ in modules()}))
def test_imports_point_one_way(layer: str) -> None:
    assert layer in MAY_IMPORT, f"the layer {layer} has no place in the house yet"
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {used}"
        for owner, path in modules()
        if owner == layer
        for used in imports(path)
        if used not in MAY_IMPORT[layer] | {layer, "__version__"}
    ]
    assert not wrong


def test_files_and_functions_are_short() -> None:
    long = []
    for _, path in modules():
        text = path.read_text()
        if text.count("\n") > 500:
            long.append(f"{path.name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno
                if lines > 60:
                    long.append(f"{path.name}: {node.name} has {lines} lines")
    assert not long


def test_every_module_opens_with_why() -> None:
    bare = [
        str(path.relative_to(PACKAGE)) for _, path in modules() if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not bare
