"""A request's query string, read only when asked; the raw text stays for the engine."""

from __future__ import annotations

from urllib.parse import parse_qsl

_FALSE = frozenset(("", "0", "no", "false", "none"))


class Query:
    """The first value of a name counts, as in Go's `Form`; names are case-sensitive.

    `raw` is the text after "?", exactly as sent.
    """

    __slots__ = ("_values", "raw")

    def __init__(self, raw: str) -> None:
        self.raw = raw
        self._values: dict[str, list[str]] | None = None

    def _parsed(self) -> dict[str, list[str]]:
        values = self._values
        if values is None:
            values = self._values = {}
            if self.raw:
                for name, value in parse_qsl(self.raw, keep_blank_values=True):
                    values.setdefault(name, []).append(value)
        return values

    def get(self, name: str, default: str = "") -> str:
        values = self._parsed().get(name)
        return values[0] if values else default

    def all(self, name: str) -> list[str]:
        """Every value of a repeated name, in order."""
        return list(self._parsed().get(name, ()))

    def items(self) -> list[tuple[str, list[str]]]:
        """Every name with its values."""
        return list(self._parsed().items())

    def flag(self, name: str, default: bool = False) -> bool:
        """Docker's booleans: empty, 0, no, false and none in any case are false, all else is true."""
        values = self._parsed().get(name)
        return default if values is None else values[0].strip().lower() not in _FALSE

    def __contains__(self, name: str) -> bool:
        return name in self._parsed()
