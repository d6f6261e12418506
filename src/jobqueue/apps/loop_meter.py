"""Measure how late this process's event loop is: everything the process does waits that long."""

from __future__ import annotations

from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.telemetry.events import LoopMeasured, Telemetry

INTERVAL_S: Final = 0.5


class LoopMeter:
    """A service that sleeps, and tells how much longer it slept than asked."""

    name = "loop-meter"

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            asked_s = self._clock.monotonic() + INTERVAL_S
            await self._clock.sleep(INTERVAL_S)
            self._telemetry.emit(LoopMeasured(max(0.0, self._clock.monotonic() - asked_s)))
