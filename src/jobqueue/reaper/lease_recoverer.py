"""Give lost leases back.

Guards against taking from the living (failures.md 4.6): after a start, a reconnect or a Postgres restart no lease is reaped before its
own length has passed, since its holder may not have been able to renew it; and none for a while after the database's clock stepped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.aio.periodic import OnFault, PeriodicService
from jobqueue.domain.errors import Unavailable
from jobqueue.domain.rotation import Lane
from jobqueue.operations import leases, upkeep
from jobqueue.operations.database import Database
from jobqueue.operations.leases import RECOVERED_MAX, LeaseTerms
from jobqueue.reaper.events import ClockStepped, Emit
from jobqueue.telemetry.events import LeaseExpired

INTERVAL_S: Final = 1.0
STEP_S: Final = 1.0
"""A clock that differs by more than this from ours between two ticks has stepped."""


class LeaseRecoverer(PeriodicService):
    """Settles leases whose time is over."""

    def __init__(
        self, db: Database, terms: LeaseTerms, *, clock: Clock, on_fault: OnFault, emit: Emit, wake: Callable[[Lane], None]
    ) -> None:
        """wake is told the lanes that jobs went back to."""
        super().__init__(name="lease_recoverer", interval_s=INTERVAL_S, clock=clock, on_fault=on_fault, backoff_s_max=INTERVAL_S)
        self._db = db
        self._terms = terms
        self._emit = emit
        self._wake = wake
        self._resumed_at = clock.boottime()
        self._offset_s: float | None = None

    async def tick(self) -> float | None:
        """Recover one batch; at once again when it was full."""
        try:
            await self._watch_clock()
            resumed_for_s = self._clock.boottime() - self._resumed_at
            found = await leases.recover(self._db, self._terms, resumed_for_s=resumed_for_s, wake=self._wake)
        except Unavailable:
            self._resumed_at = self._clock.boottime()
            self._offset_s = None
            raise
        for lease in found:
            self._emit(LeaseExpired(lease.tenant, str(lease.job_id), lease.worker, lease.attempt, lease.status, lease.is_overdue))
        return 0.0 if len(found) == RECOVERED_MAX else None

    async def _watch_clock(self) -> None:
        offset_s = await upkeep.clock_s(self._db) - self._clock.boottime()
        if self._offset_s is not None and abs(step_s := offset_s - self._offset_s) > STEP_S:
            self._resumed_at = self._clock.boottime()
            self._emit(ClockStepped(step_s))
            await upkeep.clamp_leases(self._db)
        self._offset_s = offset_s
