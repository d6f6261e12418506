"""The live feed: one tailer a process, reading the history of all jobs behind a mark that nothing is still to appear before.

Polling is the truth; a wake-up only makes it quick. While nobody watches, nothing is read. What was before a stream joined is read from
the database by the stream itself (`read_after`), up to the position the tailer had reached for its tenant at that moment, so nothing is
told twice and nothing is missing between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from jobqueue.aio.clock import Clock
from jobqueue.domain.errors import JobQueueError
from jobqueue.domain.feed import PROGRESS, Choice, FeedEvent, FeedRow, SafeMark, cursor_after, read_row
from jobqueue.domain.history import row_of
from jobqueue.domain.job import JobView
from jobqueue.domain.job_filter import JobFilter
from jobqueue.domain.lifecycle import FINAL, Event, Status
from jobqueue.operations.job_lists import LIST_S_MAX, numbers_of
from jobqueue.operations.jobs import WORKER_ALIVE_S, Caller
from jobqueue.store import feed as store
from jobqueue.store import job_lists, jobs
from jobqueue.store.pool import Database, Transaction
from jobqueue.telemetry.events import FeedMeasured, Telemetry

POLL_S: Final = 0.05
"""Between two looks while somebody watches; a look at an idle queue is one small statement."""
WAITING_POLL_S: Final = 0.01
"""The same while a newer number waits for its writers, which commit within milliseconds."""
FAULT_S: Final = 0.5
PROGRESS_S: Final = 0.25
PROGRESS_WITHIN_S: Final = 5.0
"""Progress told earlier than this before a look has been told on already, or nobody watched."""
PROGRESS_MAX: Final = 5_000
WINDOW: Final = 20_000
"""Numbers one statement walks over, most of them perhaps of tenants nobody watches."""
ROWS_MAX: Final = 1_000
SNAPSHOT_JOBS_MAX: Final = 1_000
UNENDED: Final = tuple(status for status in Status if status not in FINAL)
NOT_ENDING: Final = frozenset({Event.LEASED.value, Event.STARTED.value, Event.CANCEL_REQUESTED.value})

ProgressKey = tuple[int, float | None, str | None]


@dataclass(slots=True)
class _Progress:
    """Progress that is told once the history has reached seq. last: what was told of each job before."""

    events: list[FeedEvent] = field(default_factory=list)
    seq: int = 0
    read_at_s: float = float("-inf")
    last: dict[UUID, ProgressKey] = field(default_factory=dict)


class FeedTailer:
    """A service that hands the events of the watched tenants on, in order, each once.

    `position_of` and `deliver` belong together: an event of a tenant comes through deliver if its row is beyond the position that was
    answered for the tenant before.
    """

    name = "feed_tailer"

    def __init__(
        self,
        db: Database,
        *,
        watched: Callable[[], Collection[int]],
        deliver: Callable[[Sequence[FeedEvent]], None],
        restarted: Callable[[], None],
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        """watched names the tenants to read for; restarted is called when the history went back (a restore), before anything new."""
        self._db = db
        self._watched = watched
        self._deliver = deliver
        self._restarted = restarted
        self._clock = clock
        self._telemetry = telemetry
        self._mark = SafeMark()
        self._position: int | None = None
        self._covering: frozenset[int] = frozenset()
        self._progress = _Progress()
        self._bell = asyncio.Event()
        self._moved = asyncio.Condition()

    def poke(self) -> None:
        """Look now: somebody began to watch, or something happened."""
        self._bell.set()

    async def position_of(self, tenant_id: int) -> int:
        """Answer up to which row the tenant's events have been handed on, once it is one of the watched. Waits for the tailer."""
        async with self._moved:
            await self._moved.wait_for(lambda: tenant_id in self._covering)
            assert self._position is not None
            return self._position

    async def run(self) -> None:
        """Read on until cancelled; a fault of the database only delays."""
        while True:
            try:
                wait_s = await self.tick()
            except JobQueueError:
                wait_s = FAULT_S
            await self._rest(wait_s)

    async def _rest(self, seconds: float | None) -> None:
        """Wait so long, or for as long as nobody watches (None); a poke ends it."""
        if seconds is not None and seconds <= WAITING_POLL_S:
            await self._clock.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            pass
        self._bell.clear()

    async def tick(self) -> float | None:
        """Hand on what has come; answers the seconds until the next look is wanted, None when nobody watches."""
        tenants = frozenset(self._watched())
        if not tenants:
            self._covering, self._position = frozenset(), None
            self._mark, self._progress = SafeMark(), _Progress()
            return None
        self._covering &= tenants  # whoever comes back in the middle of a tick that does not read for it waits for the next one
        await self._read_progress(tenants)
        await self._move_mark()
        if self._position is None and (self._mark.reached or not self._mark.is_waiting):
            self._position = self._mark.reached  # nobody watched before: what was until now is not for us to tell
        if self._position is not None:
            for target in self._targets(self._position):
                await self._advance(tenants, target)
                self._tell_progress(target)
            async with self._moved:
                self._covering = tenants
                self._moved.notify_all()
        self._telemetry.emit(FeedMeasured(self._mark.lag_s(self._clock.monotonic())))
        return WAITING_POLL_S if self._mark.is_waiting else POLL_S

    async def _move_mark(self) -> None:
        newest = await store.newest(self._db)
        if newest < self._mark.newest():  # a restore or a failover that lost some: what was told may never have been
            self._mark, self._position, self._progress = SafeMark(), None, _Progress()
            self._covering = frozenset()
            self._restarted()
        if newest > self._mark.newest() or self._mark.is_waiting:
            writers = await store.writers(self._db)
            self._mark.look(newest, writers, now_s=self._clock.monotonic())
        if self._progress.events and not self._progress.seq:
            self._progress.seq = newest

    def _targets(self, position: int) -> list[int]:
        """Where to stop on the way to the mark: where progress is to be told, and the mark itself."""
        reached = self._mark.reached
        stops = {reached}
        if self._progress.events and position <= self._progress.seq <= reached:
            stops.add(self._progress.seq)
        return sorted(stops)

    async def _advance(self, tenants: frozenset[int], target: int) -> None:
        assert self._position is not None
        while self._position < target:
            last = min(target, self._position + WINDOW)
            rows = await store.events(self._db, sorted(tenants), seq_after=self._position, seq_last=last, limit=ROWS_MAX)
            if len(rows) == ROWS_MAX:
                last = rows[-1].packed.seq
            events = [event for row in rows for event in read_row(row)]
            self._drop_progress_of_ended(events)
            self._position = last  # before the hand-over: what a stream that joins in it has missed is read by itself
            if events:
                self._deliver(events)

    # ------------------------------------------------------------------------------------------------ progress

    async def _read_progress(self, tenants: frozenset[int]) -> None:
        """Read what running jobs tell, before the newest number is read, so that their starts come first."""
        progress, now_s = self._progress, self._clock.monotonic()
        if progress.events or now_s - progress.read_at_s < PROGRESS_S:
            return
        progress.read_at_s = now_s
        rows = await store.progress(self._db, sorted(tenants), within_s=PROGRESS_WITHIN_S, limit=PROGRESS_MAX)
        seen: dict[UUID, ProgressKey] = {}
        for row in rows:
            key = seen[row["job_id"]] = (row["attempt"], row["progress"], row["progress_message"])
            if progress.last.get(row["job_id"]) != key:
                progress.events.append(
                    FeedEvent(
                        cursor=0,
                        type=PROGRESS,
                        at=row["reported_at"],
                        tenant_id=row["tenant_id"],
                        job_id=row["job_id"],
                        queue=row["queue"],
                        job_type=row["job_type"],
                        status=Status.RUNNING if row["is_running"] else Status.LEASED,
                        attempt=row["attempt"],
                        worker_id=row["worker_id"],
                        progress=row["progress"],
                        progress_message=row["progress_message"],
                    )
                )
        progress.last, progress.seq = seen, 0

    def _drop_progress_of_ended(self, events: Sequence[FeedEvent]) -> None:
        """Leave out what a job told of a run that is over by what is told next."""
        if self._progress.events:
            over = {event.job_id for event in events if event.type not in NOT_ENDING}
            self._progress.events = [event for event in self._progress.events if event.job_id not in over]

    def _tell_progress(self, target: int) -> None:
        if self._progress.events and self._progress.seq and target >= self._progress.seq:
            events, self._progress.events = self._progress.events, []
            for event in events:
                event.cursor = cursor_after(target)
            self._deliver(events)


# ------------------------------------------------------------------------------------------------------ what was


async def is_forgotten(db: Database, cursor: int) -> bool:
    """Say whether history after a cursor may be gone with its weeks, or the cursor is of a history that is no more."""
    row = row_of(cursor)
    return row < await store.forgotten(db) or row > await store.newest(db)


async def read_after(db: Database, tenant_id: int, choice: Choice, *, cursor: int, row_last: int) -> AsyncIterator[list[FeedEvent]]:
    """Read a tenant's events after a cursor up to a row, in order, page by page; pages may be empty."""
    position = row_of(cursor) - 1
    while position < row_last:
        if choice.job_ids:
            last = row_last
            rows = await store.events_of_jobs(db, tenant_id, sorted(choice.job_ids), seq_after=position, seq_last=last, limit=ROWS_MAX)
        else:
            last = min(row_last, position + WINDOW)
            rows = await store.events(db, [tenant_id], seq_after=position, seq_last=last, limit=ROWS_MAX)
        position = rows[-1].packed.seq if len(rows) == ROWS_MAX else last
        yield _wanted(rows, choice, cursor)


def _wanted(rows: Sequence[FeedRow], choice: Choice, cursor: int) -> list[FeedEvent]:
    return [event for row in rows for event in read_row(row) if event.cursor > cursor and choice.wants(event)]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Jobs as they are in one moment, some moments after a row of the history. is_complete False: there were more.

    rows: of each job that changed in between, ended ones too, its newest row then: up to it, its history is in the snapshot.
    """

    jobs: Sequence[JobView]
    rows: dict[UUID, int]
    is_complete: bool


async def snapshot(db: Database, caller: Caller, choice: Choice, *, row_after: int, tenant_cap: int) -> Snapshot:
    """Read the jobs a stream is about, newest first: those it names, else those that have not ended, at most SNAPSHOT_JOBS_MAX."""
    job_filter = JobFilter(statuses=UNENDED, queues=tuple(sorted(choice.queues)), job_types=tuple(sorted(choice.job_types)))
    numbers = await numbers_of(db, job_filter)

    async def work(transaction: Transaction) -> Snapshot:
        if choice.job_ids:
            job_ids, is_complete = sorted(choice.job_ids), True
        else:
            found = await job_lists.find(transaction, caller.tenant_id, job_filter, numbers, before=None, limit=SNAPSHOT_JOBS_MAX + 1)
            job_ids = found.job_ids[:SNAPSHOT_JOBS_MAX]
            is_complete = found.stopped_at is None and len(found.job_ids) <= SNAPSHOT_JOBS_MAX
        views = await jobs.get(
            transaction,
            caller.tenant_id,
            job_ids,
            tenant=caller.tenant,
            tenant_cap=tenant_cap,
            worker_alive_s=WORKER_ALIVE_S,
            has_data=False,
            has_result=False,
        )
        wanted = [view for view in views if _is_chosen(choice, view)]
        rows = await store.newest_since(transaction, caller.tenant_id, seq_after=row_after)
        return Snapshot(wanted, rows, is_complete)

    return await db.in_transaction(work, deadline_s=LIST_S_MAX, is_snapshot=True, tenant_id=caller.tenant_id)


def _is_chosen(choice: Choice, view: JobView) -> bool:
    return (not choice.queues or view.queue in choice.queues) and (not choice.job_types or view.job_type in choice.job_types)
