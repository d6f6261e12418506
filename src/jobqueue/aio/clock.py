"""Local time. The only module that sleeps, so that tests can hold time still.

No reading of these clocks is ever written to a row: stored time is the database's.
"""

import asyncio
import time
from typing import Protocol

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """What may be asked about local time. Readings only mean something as differences."""

    def monotonic(self) -> float:
        """Read seconds that never go back; may stand still while the machine sleeps. For waiting and measuring."""
        ...

    def boottime(self) -> float:
        """Read seconds that also pass while the machine sleeps, where the system can tell. For fences and terms."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; 0 lets other tasks run once."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def boottime(self) -> float:
        return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        await asyncio.sleep(seconds)
