"""Leadership: a row with a term and an expiry on the database's clock.

An optimisation only: everything is right with any number of reapers.

The local term ends before the database's: it counts from before the request was sent, on a clock that does not stop while the machine
sleeps. Any error ends it.
"""

from __future__ import annotations

import contextlib
from typing import Final
from uuid import UUID

from jobqueue.aio.clock import Clock
from jobqueue.aio.periodic import OnFault, PeriodicService
from jobqueue.domain.errors import JobQueueError
from jobqueue.operations import upkeep
from jobqueue.operations.database import Database
from jobqueue.reaper.events import Emit, LeaderElected, LeaderResigned

ROLE: Final = "reaper"
WEBHOOKS: Final = "webhooks"
"""A leader of their own: a reaper without the key that opens webhooks' secrets must not lead them."""
TERM_S: Final = 10.0
RENEW_S: Final = 3.0
MARGIN_S: Final = 1.0
"""A leader stops believing this much before its row expires."""


class Leader(PeriodicService):
    """Elects, renews, resigns."""

    def __init__(self, db: Database, *, holder: UUID, clock: Clock, on_fault: OnFault, emit: Emit, role: str = ROLE) -> None:
        """holder: random, new at each process start. role: what is led."""
        super().__init__(
            name="leader" if role == ROLE else f"leader_{role}", interval_s=RENEW_S, clock=clock, on_fault=on_fault, backoff_s_max=RENEW_S
        )
        self._db = db
        self._holder = holder
        self._role = role
        self._emit = emit
        self._term: int | None = None
        self._until = float("-inf")

    @property
    def is_leader(self) -> bool:
        """Whether this process leads now."""
        return self._term is not None and self._clock.boottime() < self._until

    async def tick(self) -> float | None:
        """Elect or renew."""
        asked_at = self._clock.boottime()
        before, self._term = self._term, None
        term = await upkeep.elect(self._db, role=self._role, holder=self._holder, term=before, term_s=TERM_S)
        if term is not None:
            self._term = term
            self._until = asked_at + TERM_S - MARGIN_S
        if term is not None and term != before:
            self._emit(LeaderElected(term, self._role))
        elif term is None and before is not None:
            self._emit(LeaderResigned(before, self._role))
        return None

    async def run(self) -> None:
        """Lead when nobody does, until cancelled; then let the next one lead at once."""
        try:
            await super().run()
        finally:
            if (term := self._term) is not None:
                self._term = None
                with contextlib.suppress(JobQueueError):
                    await upkeep.resign(self._db, role=self._role, holder=self._holder, term=term)
                self._emit(LeaderResigned(term, self._role))
