"""What stands behind a credential, remembered for a few seconds: long enough to spare the database, short enough for a revocation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from jobqueue.aio.clock import Clock

VERIFIED_S_MAX: Final = 4.0
"""What was found is trusted this long without looking again: a deleted key, a disabled user stops within 5 s."""
VERIFIED_MAX: Final = 10_000

Found = TypeVar("Found")


class Remembered(Generic[Found]):
    """A process's memory of what it found by id. What was not found is not remembered."""

    def __init__(self, find: Callable[[str], Awaitable[Found | None]], *, clock: Clock) -> None:
        self._find = find
        self._clock = clock
        self._known: dict[str, tuple[Found, float]] = {}

    async def get(self, name: str) -> Found | None:
        """Answer what stands behind an id, as of at most VERIFIED_S_MAX ago."""
        now_s = self._clock.monotonic()
        known = self._known.get(name)
        if known is not None and now_s - known[1] < VERIFIED_S_MAX:
            return known[0]
        found = await self._find(name)
        if found is None:
            self.forget(name)
            return None
        if len(self._known) >= VERIFIED_MAX:
            self._known.clear()
        self._known[name] = (found, now_s)
        return found

    def forget(self, name: str) -> None:
        """Look again the next time."""
        self._known.pop(name, None)
