"""A service that does one bounded piece of work again and again.

Invariants: ticks of one service never overlap; a failed tick never ends the service; the wait after failures grows to a cap and wakes
do not shorten it, so a database that is down is not hammered; cancellation always ends the service, also in the middle of a tick.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable

from jobqueue.aio.clock import Clock

TICK_S_MAX = 30.0
BACKOFF_S_MAX = 30.0
BACKOFF_DOUBLINGS_MAX = 16  # keeps 2 ** n small; the cap in seconds is reached long before
JITTER = 0.1

OnFault = Callable[[str, Exception], None]
"""Is told the service's name and what its tick raised. Must not raise."""


class PeriodicService(ABC):
    """Base of the periodic services: write tick(), and step it in tests with `await service.tick()`."""

    def __init__(
        self,
        *,
        name: str,
        interval_s: float,
        clock: Clock,
        on_fault: OnFault,
        jitter: float = JITTER,
        tick_s_max: float = TICK_S_MAX,
        backoff_s_max: float = BACKOFF_S_MAX,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Set the rhythm.

        jitter in [0, 1] is the part of each wait that is drawn: waits lie in (wait * (1 - jitter), wait], so never later than asked.
        A tick that lasts longer than tick_s_max is cancelled and counts as failed. draw returns numbers in [0, 1).
        """
        assert interval_s > 0
        assert 0 <= jitter <= 1
        assert tick_s_max > 0
        self.name = name
        self.interval_s = interval_s
        self.last_progress = clock.monotonic()  # end of the last good tick, for a watchdog
        self._clock = clock
        self._on_fault = on_fault
        self._jitter = jitter
        self._tick_s_max = tick_s_max
        self._backoff_s_max = backoff_s_max
        self._draw = draw
        self._faults_in_a_row = 0
        self._is_woken = False
        self._nap: asyncio.Timeout | None = None

    @abstractmethod
    async def tick(self) -> float | None:
        """Do one bounded piece of work; return the seconds until the next one is wanted, None for the interval, 0 for at once."""

    def wake(self) -> None:
        """Have the next tick run at once, or as soon as the present one is over. Many wakes before a tick are one."""
        self._is_woken = True
        if self._nap is not None:
            self._nap.reschedule(asyncio.get_running_loop().time())
            self._nap = None

    async def run(self) -> None:
        """Tick for ever; ends only by cancellation."""
        while True:
            self._is_woken = False
            wait_s = await self._tick_once()
            await self._wait(wait_s * (1 - self._jitter * self._draw()))

    async def _tick_once(self) -> float:
        """Run one tick and return how long to wait after it."""
        try:
            async with asyncio.timeout(self._tick_s_max):
                asked_s = await self.tick()
        except Exception as fault:  # noqa: BLE001 - the one site: whatever a tick raises is told, and the service goes on
            self._on_fault(self.name, fault)
            return self._after_fault()
        assert asked_s is None or asked_s >= 0
        self._faults_in_a_row = 0
        self.last_progress = self._clock.monotonic()
        return self.interval_s if asked_s is None else asked_s

    def _after_fault(self) -> float:
        self._faults_in_a_row = min(self._faults_in_a_row + 1, BACKOFF_DOUBLINGS_MAX)
        return min(self.interval_s * 2.0 ** (self._faults_in_a_row - 1), max(self._backoff_s_max, self.interval_s))

    async def _wait(self, seconds: float) -> None:
        """Sleep until the time is over or wake() is called; after a fault, wakes wait too."""
        if self._faults_in_a_row:
            await self._clock.sleep(seconds)
            return
        if self._is_woken:
            seconds = 0
        try:
            async with asyncio.timeout(None) as nap:
                self._nap = nap
                await self._clock.sleep(seconds)
        except TimeoutError:
            pass  # woken
        finally:
            self._nap = None
