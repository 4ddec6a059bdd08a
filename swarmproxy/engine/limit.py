"""A call's place among those under way at one engine."""

from __future__ import annotations

import asyncio


class Place:
    """Waits for a place, keeps it, gives it back once. Without a semaphore there is always room."""

    __slots__ = ("_places", "taken")

    def __init__(self, places: asyncio.Semaphore | None) -> None:
        self._places = places
        self.taken = False

    async def take(self) -> None:
        if self._places is not None:
            await self._places.acquire()
        self.taken = True

    def leave(self) -> None:
        """Does nothing when no place is held."""
        if self.taken and self._places is not None:
            self._places.release()
            self._places = None
