"""A long list, newest first, written without joining it anew.

Entries stand in pages of at most `LIMIT`; each page keeps its joined bytes until one of its entries changes or the
first of its Status texts is due. So a change costs one page, and a list of 30,000 containers is 60 to 120 writes. Pages
are never changed in place: a change makes a new page that shares its entries, so a writer that yields between pages
goes on over the list as it was when it began.

Not a heap of next changes: a page knows its earliest, and nobody pays for texts that nobody reads.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from swarmproxy.cluster.entry import Entry, Order

LIMIT = 512


class Page:
    """Some neighbours of the sequence."""

    __slots__ = ("_body", "_until", "entries", "keys")

    def __init__(self, keys: list[Order], entries: list[Entry]) -> None:
        self.keys = keys
        self.entries = entries
        self._body = b""
        self._until = -math.inf

    def body(self, now: float) -> bytes:
        """The entries joined by commas, with texts right at `now`."""
        if now >= self._until:
            until = math.inf
            parts: list[bytes] = []
            for entry in self.entries:
                until = min(until, entry.write(parts, now))
                parts.append(b",")
            parts.pop()
            self._body = b"".join(parts)
            self._until = until
        return self._body

    def spoil(self) -> None:
        self._until = -math.inf


class Pages:
    """One sequence. Keys are unique and compare newest first."""

    __slots__ = ("_count", "_lasts", "_pages")

    def __init__(self) -> None:
        self._pages: list[Page] = []
        self._lasts: list[Order] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        for page in tuple(self._pages):
            yield from page.entries

    def _at(self, key: Order) -> tuple[int, int]:
        """Page and place of a key that is in the sequence."""
        number = bisect_left(self._lasts, key)
        if number < len(self._pages):
            page = self._pages[number]
            place = bisect_left(page.keys, key)
            if place < len(page.keys) and page.keys[place] == key:
                return number, place
        raise KeyError(key)

    def insert(self, entry: Entry) -> None:
        """Raises KeyError when the key is there already."""
        key = entry.order
        if not self._pages:
            self._set(0, 0, [([key], [entry])])
            self._count = 1
            return
        number = min(bisect_left(self._lasts, key), len(self._pages) - 1)
        page = self._pages[number]
        place = bisect_right(page.keys, key)
        if place and page.keys[place - 1] == key:
            raise KeyError(key)
        keys = [*page.keys[:place], key, *page.keys[place:]]
        entries = [*page.entries[:place], entry, *page.entries[place:]]
        half = len(keys) // 2
        fits = len(keys) <= LIMIT
        parts = [(keys, entries)] if fits else [(keys[:half], entries[:half]), (keys[half:], entries[half:])]
        self._set(number, number + 1, parts)
        self._count += 1

    def replace(self, old: Entry, new: Entry) -> None:
        """Raises KeyError when `old` is not there."""
        if old.order != new.order:
            self.remove(old)
            self.insert(new)
            return
        number, place = self._at(old.order)
        page = self._pages[number]
        self._pages[number] = Page(page.keys, [*page.entries[:place], new, *page.entries[place + 1 :]])

    def remove(self, entry: Entry) -> None:
        """Raises KeyError when it is not there."""
        number, place = self._at(entry.order)
        page = self._pages[number]
        keys, entries = page.keys[:], page.entries[:]
        del keys[place], entries[place]
        first, last = number, number + 1
        if last < len(self._pages) and len(keys) + len(self._pages[last].keys) <= LIMIT // 2:
            keys += self._pages[last].keys
            entries += self._pages[last].entries
            last += 1
        self._set(first, last, [(keys, entries)] if keys else [])
        self._count -= 1

    def _set(self, first: int, last: int, parts: list[tuple[list[Order], list[Entry]]]) -> None:
        self._pages[first:last] = [Page(keys, entries) for keys, entries in parts]
        self._lasts[first:last] = [keys[-1] for keys, _ in parts]

    def spoil(self, entry: Entry) -> None:
        """Its text changed, its place did not."""
        self._pages[self._at(entry.order)[0]].spoil()

    def spoil_all(self) -> None:
        for page in self._pages:
            page.spoil()

    def chunks(self, now: float) -> Iterator[bytes]:
        """The whole as a JSON array, a page a piece; the sequence as it is now, each text as of `now`."""
        before = b"["
        for page in tuple(self._pages):
            yield before + page.body(now)
            before = b","
        yield b"]\n" if before == b"," else b"[]\n"
