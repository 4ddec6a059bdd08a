"""A placement as a table for people: nodes down, filters across, then the reasons.

node    place  health  port  constraint …
node-1  1      ✔       ✔     ✔
node-2  -      ✔       ✘     ✔
node-2: port 80/tcp is taken by web-1
"""

from __future__ import annotations

from collections.abc import Mapping

from swarmproxy.scheduler.place import NoNode, Placement, Row, blames, natural

__all__ = ["explain"]

PASS = "✔"
FAIL = "✘"


def explain(outcome: Placement | NoNode) -> str:
    """Best node first, then the refused ones by name; ends without a newline."""
    ranked = [node.name for node in outcome.candidates] if isinstance(outcome, Placement) else []
    refused = sorted(set(outcome.table) - set(ranked), key=natural)
    lines = _grid(outcome.table, ranked, refused)
    lines += [f"{name}: {reason}" for name in refused for reason in blames(outcome.table[name])]
    if isinstance(outcome, Placement):
        lines += [f"given up: {text}" for text in outcome.dropped]
    else:
        lines.insert(0, outcome.message.partition("\n")[0].strip())
    return "\n".join(lines)


def _grid(table: Mapping[str, Row], ranked: list[str], refused: list[str]) -> list[str]:
    if not table:
        return []
    head = ["node", "place", *(name for name, _ in next(iter(table.values())))]
    rows = [head]
    for rank, name in enumerate(ranked, 1):
        rows.append([name, str(rank), *_marks(table[name])])
    for name in refused:
        rows.append([name, "-", *_marks(table[name])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _marks(row: Row) -> list[str]:
    return [PASS if reason is None else FAIL for _, reason in row]
