"""Limits of a tenant."""

from __future__ import annotations

import math


def effective_limit(own: int | None, default: int) -> int | None:
    """The limit in force; 0 is none, None is not set and the default stands."""
    limit = default if own is None else own
    return limit or None


def room_for_waiting(*, waiting: int, limit: int | None) -> float:
    """How many more jobs may be stored now."""
    return math.inf if limit is None else max(0, limit - waiting)
