"""Wake idle claimers: one coalesced NOTIFY a process, outside every other transaction, on a connection of its own.

NOTIFY in a submit's transaction would cost most of its commit rate (failures.md 1.5). Polling with jitter is the truth; this only makes
it quick.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.domain.errors import JobQueueError
from jobqueue.domain.rotation import Lane
from jobqueue.domain.wakeup import Note, decode, decode_notes, encode
from jobqueue.store import upkeep
from jobqueue.store.listener import Listener
from jobqueue.store.pool import Database

CHANNEL: Final = "jobqueue_wake"
GAP_S: Final = 0.005
"""Between two NOTIFYs of one process; the first after a pause goes at once."""
PING_INTERVAL_S: Final = 5.0
RECONNECT_S: Final = 0.5
RECONNECT_S_MAX: Final = 10.0


class Waker:
    """Tells the world which lanes got jobs. A service."""

    name = "waker"

    def __init__(self, db: Database, *, clock: Clock, here: Callable[[list[Lane]], None] | None = None) -> None:
        """here is told first: claimers of this very process need no way through the database."""
        self._db = db
        self._clock = clock
        self._here = here
        self._lanes: dict[Lane, None] = {}
        self._notes: dict[Note, None] = {}
        self._bell = asyncio.Event()

    def wake(self, lane: Lane) -> None:
        """Have claimers look into a lane, soon."""
        self._lanes[lane] = None
        self._bell.set()

    def wake_all(self, lanes: Iterable[Lane]) -> None:
        """Have claimers look into lanes, soon."""
        for lane in lanes:
            self.wake(lane)

    def note(self, note: Note) -> None:
        """Tell other claimers of a tenant at its limit, soon."""
        self._notes[note] = None
        self._bell.set()

    async def run(self) -> None:
        """Send wake-ups until cancelled; one that cannot be sent is dropped, the poll finds the jobs."""
        while True:
            await self._bell.wait()
            try:
                await self.flush()
            except JobQueueError:
                await self._clock.sleep(RECONNECT_S)
            await self._clock.sleep(GAP_S)

    async def flush(self) -> None:
        """Send what there is, now: also for a process that is about to leave what it gave back to others. Raises Unavailable."""
        self._bell.clear()
        lanes, self._lanes = self._lanes, {}
        notes, self._notes = self._notes, {}
        if lanes and self._here is not None:
            self._here(list(lanes))
        if lanes or notes:
            await upkeep.notify(self._db, encode(lanes, notes))


class Ear:
    """Hears wake-ups. A service: it reconnects by itself, and says when it could have missed some."""

    name = "ear"

    def __init__(
        self,
        dsn: str,
        *,
        heard: Callable[[list[Lane] | None], None],
        reconnected: Callable[[], None],
        clock: Clock,
        noted: Callable[[Note], None] | None = None,
    ) -> None:
        """dsn: the direct one. heard gets the lanes, None for everywhere; noted each note; reconnected is called after each (re)connect."""
        self._dsn = dsn
        self._heard = heard
        self._noted = noted
        self._reconnected = reconnected
        self._clock = clock

    async def run(self) -> None:
        """Listen until cancelled."""
        wait_s = RECONNECT_S
        while True:
            try:
                async with Listener.open(self._dsn, channel=CHANNEL, heard=self._hear, application_name="jobqueue-ear") as listener:
                    self._reconnected()
                    wait_s = RECONNECT_S
                    while True:
                        await self._clock.sleep(PING_INTERVAL_S)
                        await listener.ping()
            except JobQueueError:
                await self._clock.sleep(wait_s)
                wait_s = min(wait_s * 2, RECONNECT_S_MAX)

    def _hear(self, payload: str) -> None:
        if self._noted is not None:
            for note in decode_notes(payload):
                self._noted(note)
        lanes = decode(payload)
        if lanes or lanes is None:
            self._heard(lanes)
