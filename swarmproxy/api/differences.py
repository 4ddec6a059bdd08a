"""What differs from a single engine, made from the route table.

`python -m swarmproxy.api.differences` rewrites docs/differences.md and the block in README.md; a test fails when either
is not what the table says, so the documents cannot lie for long.
"""

from __future__ import annotations

from pathlib import Path

from swarmproxy.api.route import Serve
from swarmproxy.api.table import ROUTES

ROOT = Path(__file__).parents[2]
BEGIN = "<!-- differences: made by `python -m swarmproxy.api.differences` -->"
END = "<!-- differences end -->"


def told() -> list[tuple[str, str]]:
    """(endpoint, sentence) of every row that differs."""
    return [(f"{route.method} {route.path.replace('...', '')}", route.differs) for route in ROUTES if route.differs]


def block() -> str:
    """The table for README.md."""
    rows = [f"| `{endpoint}` | {sentence} |" for endpoint, sentence in told()]
    return "\n".join((BEGIN, "| endpoint | what differs |", "|---|---|", *rows, END))


def page() -> str:
    """docs/differences.md: the whole API, who answers, and what differs."""
    lines = [
        "# What differs from a single engine",
        "",
        "Every endpoint that is served, who answers it, and what a client may notice. An endpoint that is not here is",
        "`404 page not found`, as on an engine. Made from the route table by `python -m swarmproxy.api.differences`.",
        "",
    ]
    for serve in Serve:
        rows = [route for route in ROUTES if route.serve is serve]
        if rows:
            lines += [f"## {serve.name}: {serve.value}", "", "| endpoint | what differs |", "|---|---|"]
            lines += [f"| `{one.method} {one.path.replace('...', '')}` | {one.differs} |" for one in rows]
            lines.append("")
    return "\n".join(lines)


def with_block(readme: str) -> str:
    """README.md with its block renewed. Raises ValueError when it has none."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("README.md has no block for differences")
    return before + block() + after


def main() -> None:
    (ROOT / "docs" / "differences.md").write_text(page())
    readme = ROOT / "README.md"
    readme.write_text(with_block(readme.read_text()))


if __name__ == "__main__":
    main()
