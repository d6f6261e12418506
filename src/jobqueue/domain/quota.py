"""Limits of a tenant."""

from __future__ import annotations

import math
from typing import Final

RETRY_S_MIN, RETRY_S_MAX = 1.0, 60.0
"""How soon a caller with a full queue is told to come back, at the least and at the most."""
DRAIN_WINDOW_S: Final = 10.0
"""The pace at which jobs stop waiting is measured over about this."""
DRAIN_S_MIN: Final = 0.2
"""Two looks closer together say nothing of it."""


def effective_limit(own: int | None, default: int) -> int | None:
    """The limit in force; 0 is none, None is not set and the default stands."""
    limit = default if own is None else own
    return limit or None


def room_for_waiting(*, waiting: int, limit: int | None) -> float:
    """How many more jobs may be stored now."""
    return math.inf if limit is None else max(0, limit - waiting)


class DrainRate:
    """How many of a tenant's jobs a second stop waiting: by being claimed, cancelled, expired. Times are monotonic seconds, handed in."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._next: tuple[int, float] | None = None
        self.per_s: float | None = None

    def look(self, gone: int, *, now_s: float) -> None:
        """Learn how many ever stopped waiting. Rates are read against a look one to two windows old, or the first there was."""
        if self._first is None or self._next is None:
            self._first = self._next = (gone, now_s)
            return
        if now_s - self._next[1] >= DRAIN_WINDOW_S:
            self._first, self._next = self._next, (gone, now_s)
        since_s = now_s - self._first[1]
        if since_s >= DRAIN_S_MIN:
            self.per_s = max(0, gone - self._first[0]) / since_s

    def retry_after_s(self, missing: float) -> float:
        """How long until so many more may be stored at this pace; soon while it is not known, late when nothing moves."""
        if self.per_s is None:
            return RETRY_S_MIN
        return RETRY_S_MAX if self.per_s == 0 else min(max(missing / self.per_s, RETRY_S_MIN), RETRY_S_MAX)
