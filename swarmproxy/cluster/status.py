"""The Status text of a container, kept true while it ages.

The engine renders "Up 3 minutes" when it is asked. We keep the instant that the text counts from instead, as an
interval that every text seen narrows: two texts a minute apart that straddle a change know it to the minute, an event
to the second. Texts are durations, so the engine's clock does not matter. Rendering follows go-units' HumanDuration to
the letter: scripts read it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

MINUTE, HOUR = 60.0, 3600.0
DAY, WEEK, MONTH, YEAR = 24 * HOUR, 168 * HOUR, 720 * HOUR, 8760 * HOUR

_UNITS = {
    "second": 1.0,
    "seconds": 1.0,
    "minutes": MINUTE,
    "hours": HOUR,
    "days": DAY,
    "weeks": WEEK,
    "months": MONTH,
    "years": YEAR,
}
_FIXED = {"Less than a second": 0.0, "About a minute": MINUTE, "About an hour": HOUR}
_AGING = re.compile(r"(Up |Exited \(-?\d+\) |Restarting \(-?\d+\) )(.+?)( ago)?( \([^)]*\))?\Z")
_HEALTH = {" (healthy)": "healthy", " (unhealthy)": "unhealthy", " (health: starting)": "starting"}


def describe(seconds: float) -> tuple[str, float, float]:
    """The engine's words for a duration, and the durations [from, to) that have the same words."""
    whole = int(max(seconds, 0.0))
    if whole < 1:
        return "Less than a second", 0.0, 1.0
    if whole < 60:
        return (f"{whole} seconds" if whole > 1 else "1 second"), float(whole), whole + 1.0
    minutes = whole // 60
    if minutes < 60:
        return (f"{minutes} minutes" if minutes > 1 else "About a minute"), minutes * MINUTE, (minutes + 1) * MINUTE
    hours = int(seconds / HOUR + 0.5)
    if hours < 2:
        return "About an hour", HOUR, 1.5 * HOUR
    if hours < 48:
        return f"{hours} hours", (hours - 0.5) * HOUR, (hours + 0.5) * HOUR
    for word, length, limit in (("days", 24, 336), ("weeks", 168, 1440), ("months", 720, 17520)):
        if hours < limit:
            count = hours // length
            return f"{count} {word}", (count * length - 0.5) * HOUR, (min((count + 1) * length, limit) - 0.5) * HOUR
    years = int(seconds / HOUR) // 8760
    return f"{years} years", max(years * YEAR, 17519.5 * HOUR), (years + 1) * YEAR


def span(words: str) -> tuple[float, float] | None:
    """The durations [from, to), in seconds, that `words` may stand for; None when they are not the engine's."""
    sample = _FIXED.get(words)
    if sample is None:
        count, _, unit = words.partition(" ")
        if unit not in _UNITS or not count.isdecimal():
            return None
        sample = 17519.75 * HOUR if words == "1 years" else int(count) * _UNITS[unit]
    again, low, high = describe(sample)
    return (low, high) if again == words else None


@dataclass(frozen=True, slots=True)
class Status:
    """`before` + a duration since an instant in [lo, hi] (our clock, Unix seconds) + `after`; or `before` alone."""

    before: str
    after: str = ""
    lo: float = -math.inf
    hi: float = math.inf

    @property
    def ages(self) -> bool:
        return self.lo != -math.inf

    @property
    def health(self) -> str:
        """starting, healthy or unhealthy as the text says; "" when it does not."""
        return _HEALTH.get(self.after, "")

    def _instant(self) -> float:
        return (self.lo + self.hi) / 2

    def render(self, now: float) -> str:
        return f"{self.before}{describe(now - self._instant())[0]}{self.after}" if self.ages else self.before

    def next_change(self, now: float) -> float:
        """When the text that `render(now)` gives is no longer right."""
        if not self.ages:
            return math.inf
        instant = self._instant()
        # a sum of floats may fall back on `now`, and a text that is always due would be rendered at every read
        return max(instant + describe(now - instant)[2], math.nextafter(now, math.inf))

    def narrowed(self, lo: float, hi: float) -> Status:
        """With what is known more closely; unchanged when the two do not agree."""
        low, high = max(self.lo, lo), min(self.hi, hi)
        return replace(self, lo=low, hi=high) if self.ages and low <= high else self


def parse(text: str, asked: float, answered: float) -> Status:
    """A text that the engine rendered between two instants of our clock."""
    found = _AGING.match(text)
    if found is None:
        return Status(text)
    before, words, ago, suffix = found.groups(default="")
    known = span(words)
    if known is None:
        return Status(text)
    return Status(before, ago + suffix, asked - known[1], answered - known[0])


def observe(previous: Status | None, text: str, asked: float, answered: float) -> Status:
    """What is known after one more text: the new one, within what the earlier ones allow if they can be of one run."""
    seen = parse(text, asked, answered)
    if previous is None or not seen.ages or previous.before != seen.before:
        return seen
    return seen.narrowed(previous.lo, previous.hi)
