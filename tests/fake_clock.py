"""A Clock that moves only when told to."""

import asyncio
import heapq
from itertools import count

SETTLE_TURNS = 20  # turns of the loop that let woken tasks run on to their next wait


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(SETTLE_TURNS):
        await asyncio.sleep(0)


class FakeClock:
    """Time stands still until advance(); sleepers wake in the order of their times."""

    def __init__(self, at: float = 1000.0) -> None:
        self._at = at
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self._at

    def boottime(self) -> float:
        return self._at

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.sleeps.append(seconds)
        if seconds == 0:
            await asyncio.sleep(0)
            return
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._at + seconds, next(self._order), waker))
        await waker

    async def advance(self, seconds: float) -> None:
        """Move on, waking each sleeper at its own time and letting it run before the next."""
        end = self._at + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, waker = heapq.heappop(self._sleepers)
            self._at = max(self._at, at)
            if not waker.done():
                waker.set_result(None)
            await settle()
        self._at = end
