"""From samples to the table: rows say what is compared with what, and which limit holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks import stats
from benchmarks.footprint import Footprint
from benchmarks.rounds import Samples

HEAD = ("what", "through the proxy", "direct", "direct is", "factor [95 % sure]", "limit", "")


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a contender beside its comparator.

    Attributes:
        part: of the sample; "" = the whole.
        beside: what the comparator is, in words.
        ratio: the limit, subject ÷ comparator. added: the limit, subject − comparator, in seconds. None: only told.
    """

    what: str
    subject: str
    comparator: str
    beside: str = ""
    part: str = ""
    ratio: float | None = None
    added: float | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    """What one suite measured, and how it is to be read."""

    name: str
    samples: Samples
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One row, worked out. `met` is None where there is no limit; `sure` when the interval is all on one side of it."""

    row: Row
    subject: float
    comparator: float
    figure: stats.Interval
    met: bool | None
    sure: bool

    @property
    def mark(self) -> str:
        if self.met is None:
            return ""
        return ("✔" if self.met else "✘") + ("" if self.sure else " not sure")


def judge(row: Row, samples: Samples) -> Judgement:
    subject, comparator = samples[row.subject][row.part], samples[row.comparator][row.part]
    limit = row.ratio if row.added is None else row.added
    figure = (stats.ratio if row.added is None else stats.difference)(subject, comparator)
    met = None if limit is None else figure.value <= limit
    sure = limit is None or figure.high <= limit or figure.low > limit
    return Judgement(row, stats.median(subject), stats.median(comparator), figure, met, sure)


def cells(judgement: Judgement) -> tuple[str, ...]:
    row, figure = judgement.row, judgement.figure
    if row.added is None:
        shown = f"{figure.value:.2f}× [{figure.low:.2f}–{figure.high:.2f}]"
        shown += " tie" if figure.covers(1.0) else ""
        limit = "" if row.ratio is None else f"≤ {row.ratio:g}×"
    else:
        shown = f"{figure.value * 1e3:+.2f} ms [{figure.low * 1e3:+.2f} – {figure.high * 1e3:+.2f}]"
        limit = f"≤ +{row.added * 1e3:g} ms"
    return (row.what, ms(judgement.subject), ms(judgement.comparator), row.beside, shown, limit, judgement.mark)


def ms(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.3f} ms" if value < 10 else f"{value:.1f} ms"


def grid(rows: Iterable[Sequence[str]]) -> str:
    """Markdown that can be read as it is; the first row is the head."""
    head, *rest = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in (head, *rest)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rest]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def timings(suites: Iterable[Suite]) -> str:
    return grid([HEAD, *(cells(judge(row, suite.samples)) for suite in suites for row in suite.rows)])


def footprints(found: Iterable[Footprint], seconds: float) -> str:
    head = ("while nothing happens", "PSS", "RSS", f"CPU over {seconds:g} s")
    mib = 1 << 20
    return grid(
        [head, *((f.what, f"{f.pss / mib:.1f} MiB", f"{f.rss / mib:.1f} MiB", f"{f.cpu * 100:.2f} %") for f in found)]
    )
