"""The order of truth for one engine: which answer may change what, when answers overtake each other.

Lists, refreshes and events complete in any order. Events carry no state, they only make an id dirty; what an answer
shows is true at some instant between its start and its end. So two answers that overlapped cannot be ordered, and the
rules are:

- One refresh of an id is in flight at a time, and at most one more is due.
- A list leaves alone every id whose refresh is in flight or due: the refresh will tell, or a further one where that
  in flight began before the list.
- An answer may change or delete an entry only if no other answer was applied to it since this one started. What a list
  may not say for that reason is asked again, so nothing stays wrong.
- A destroyed id stays dead: `TOMBSTONE` seconds, and longer while an answer is under way that started before.
- A caller is served only by a refresh that started after its request.

`admits` is asked per id in the moment of applying, so a long list may be applied in slices while others go on.
Cost: O(1) per call; memory only for ids that move.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

W = TypeVar("W")

TOMBSTONE = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Fetch:
    """One question under way. `ids` is None for a whole list."""

    start: int
    ids: frozenset[str] | None


class Ledger(Generic[W]):
    """Bookkeeping of one engine. W is whatever stands for a waiting caller."""

    def __init__(self) -> None:
        self._sequence = 0
        self._touched: dict[str, int] = {}
        self._tombs: dict[str, tuple[int, float]] = {}
        self._due: dict[str, None] = {}
        self._flying: dict[str, Fetch] = {}
        self._open: dict[Fetch, None] = {}
        self._waiters: dict[str, list[tuple[int, W]]] = {}

    def _tick(self) -> int:
        self._sequence += 1
        return self._sequence

    # -- what is to be asked -----------------------------------------------------------------------------------------
    def mark(self, container: str) -> None:
        """Something happened to it."""
        if container not in self._tombs:
            self._due[container] = None

    def want(self, container: str, waiter: W) -> bool:
        """A caller waits for the truth from now on. False when it is known already: the container is destroyed."""
        if container in self._tombs:
            return False
        self._waiters.setdefault(container, []).append((self._sequence, waiter))
        self._due[container] = None
        return True

    def due(self, limit: int) -> tuple[str, ...]:
        """Ids to ask for now, none that is in flight: those that a caller waits for, then the oldest."""
        ready: dict[str, None] = {}
        for container in chain(self._waiters, self._due):
            if container in self._due and container not in self._flying:
                ready[container] = None
                if len(ready) == limit:
                    break
        return tuple(ready)

    @property
    def quiet(self) -> bool:
        return not self._due and not self._open

    # -- asking --------------------------------------------------------------------------------------------------------
    def begin(self, containers: Iterable[str]) -> Fetch:
        """A refresh starts; the request must leave after this."""
        fetch = Fetch(self._tick(), frozenset(containers))
        for container in fetch.ids or ():
            assert container not in self._flying
            self._due.pop(container, None)
            self._flying[container] = fetch
        self._open[fetch] = None
        return fetch

    def begin_list(self) -> Fetch:
        fetch = Fetch(self._tick(), None)
        self._open[fetch] = None
        return fetch

    def admits(self, fetch: Fetch, container: str) -> bool:
        """Whether this answer may change, add or delete this entry now. If it may, do it and call `applied`."""
        if container in self._tombs:
            return False
        if fetch.ids is not None:
            return True
        flying = self._flying.get(container)
        if flying is not None and flying.start < fetch.start:
            self._due[container] = None  # its answer may be older than this list
        if flying is not None or container in self._due:
            return False
        if self._touched.get(container, 0) > fetch.start:
            self._due[container] = None
            return False
        return True

    def applied(self, container: str) -> None:
        """An answer has become the entry, or its absence."""
        if len(self._open) > 1:
            self._touched[container] = self._tick()

    def destroy(self, container: str, now: float) -> list[W]:
        """The engine has removed it. Returns the callers that now know enough."""
        self._tombs[container] = (self._tick(), now)
        self._due.pop(container, None)
        return [waiter for _, waiter in self._waiters.pop(container, ())]

    def finish(self, fetch: Fetch, now: float) -> list[tuple[str, W]]:
        """The answer is applied. Returns the callers it serves, by container."""
        served: list[tuple[str, W]] = []
        for container in fetch.ids or ():
            del self._flying[container]
            waiting = self._waiters.pop(container, [])
            later = [one for one in waiting if one[0] >= fetch.start]
            served += [(container, waiter) for since, waiter in waiting if since < fetch.start]
            if later:
                self._waiters[container] = later
        self._close(fetch, now)
        return served

    def fail(self, fetch: Fetch, now: float) -> list[tuple[str, W]]:
        """No answer. Its ids are due again; returns the callers that it would have served, to be told so."""
        failed = self.finish(fetch, now)
        for container in fetch.ids or ():
            self.mark(container)
        return failed

    def _close(self, fetch: Fetch, now: float) -> None:
        del self._open[fetch]
        if not self._open:
            self._touched.clear()
        oldest = next(iter(self._open)).start if self._open else self._sequence + 1
        while self._tombs:
            container, (sequence, since) = next(iter(self._tombs.items()))
            if sequence > oldest or now - since < TOMBSTONE:
                break
            del self._tombs[container]

    def drain(self) -> list[W]:
        """All who wait: there will be no more answers."""
        waiting = [waiter for one in self._waiters.values() for _, waiter in one]
        self._waiters.clear()
        return waiting

    def destroyed(self, container: str) -> bool:
        return container in self._tombs
