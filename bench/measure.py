"""Time things: how many a second, how long each."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

WARM_UP_S: Final = 0.5
"""Connections are made and statements prepared in this time; what ends in it does not count."""


async def rate(act: Callable[[int], Awaitable[None]], *, clients: int, seconds: float) -> float:
    """Say how many acts a second that many clients get done, each starting the next one as the last one ends."""
    numbers = itertools.count()
    starts_at = time.perf_counter() + WARM_UP_S
    ends_at = starts_at + seconds
    done = 0

    async def act_on() -> None:
        nonlocal done
        now = time.perf_counter()
        while now < ends_at:
            await act(next(numbers))
            now = time.perf_counter()
            done += starts_at <= now < ends_at

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(act_on())
    return done / seconds


def percentile(values: Sequence[float], share: float) -> float:
    """Take the value that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
