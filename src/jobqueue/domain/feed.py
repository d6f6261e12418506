"""The live feed: what a stream is told, which jobs it is about, and up to where the history may be told at all.

The events of all jobs carry numbers from one sequence, and a transaction that commits late makes a small number visible after a larger one:
whoever reads `seq > last` loses it. `SafeMark` is the point up to which nothing is still to come. It holds because a transaction takes its
RowExclusiveLock on `event` before it draws a number, and gives it back only after its rows are visible (DESIGN, live feed).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import orjson

from jobqueue.domain.history import SLOTS, EventRow, unpack
from jobqueue.domain.job import HistoryEvent
from jobqueue.domain.lifecycle import Event, Status

PROGRESS: Final = "progress"
"""A live message only: it is in no history, and the newest one wins."""
SUCCESS_PROGRESS: Final = 100.0
POINTS_MAX: Final = 1_000
"""Points that wait for their writers; beyond that the last one moves on instead."""

STATUS_AFTER: Final[dict[Event, Status]] = {
    Event.BLOCKED: Status.BLOCKED,
    Event.QUEUED: Status.QUEUED,
    Event.LEASED: Status.LEASED,
    Event.STARTED: Status.RUNNING,
    Event.FAILED: Status.FAILED,
    Event.SUCCEEDED: Status.SUCCEEDED,
    Event.SNOOZED: Status.SCHEDULED,
    Event.RELEASED: Status.QUEUED,
    Event.LEASE_EXPIRED: Status.QUEUED,
    Event.CANCELLED: Status.CANCELLED,
    Event.EXPIRED: Status.EXPIRED,
    Event.DLQ: Status.DLQ,
    Event.RETRIED: Status.QUEUED,
    Event.FORCE_SUCCEEDED: Status.SUCCEEDED,
}
"""The events whose name alone says what the job is then. The others (submitted, updated, cancel_requested) carry it in their data."""
PASSING: Final = frozenset({Event.SNOOZED, Event.RELEASED, Event.LEASE_EXPIRED})
"""A job that was to go back but ended at once (asked to cancel, crashes used up) never was what these events say otherwise."""


@dataclass(slots=True)
class FeedEvent:
    """One thing that happened to a job, as streams tell it. cursor: its public seq; type: without its `job.` prefix."""

    cursor: int
    type: str
    at: datetime
    tenant_id: int
    job_id: UUID
    queue: str
    job_type: str
    status: Status
    attempt: int
    worker_id: str | None
    progress: float | None = None
    progress_message: str | None = None


@dataclass(slots=True)
class FeedRow:
    """A row of the history with what it says of its job."""

    tenant_id: int
    job_id: UUID
    queue: str
    job_type: str
    packed: EventRow


def read_row(row: FeedRow) -> list[FeedEvent]:
    """Read a row as its events, in order."""
    then = row.packed.then_type
    return [_told(row, event, None if then is None else Event(then)) for event in unpack(row.packed)]


def _told(row: FeedRow, event: HistoryEvent, then: Event | None) -> FeedEvent:
    status = STATUS_AFTER.get(event.type) or _status_in(event.data_json)
    if event.type in PASSING and then in (Event.DLQ, Event.CANCELLED):
        status = STATUS_AFTER[then]
    return FeedEvent(
        cursor=event.seq,
        type=event.type.value,
        at=event.at,
        tenant_id=row.tenant_id,
        job_id=row.job_id,
        queue=row.queue,
        job_type=row.job_type,
        status=status,
        attempt=event.attempt or 0,
        worker_id=event.worker_id,
        progress=SUCCESS_PROGRESS if status is Status.SUCCEEDED else None,
    )


def _status_in(data_json: str | None) -> Status:
    """The status an event's data names; a submit that names none is due at once."""
    return Status.QUEUED if data_json is None else Status(orjson.loads(data_json).get("status", Status.QUEUED))


def cursor_after(row_seq: int) -> int:
    """The cursor behind every event of a row: what comes next is of a later one."""
    return (row_seq + 1) * SLOTS - 1


@dataclass(frozen=True, slots=True)
class Choice:
    """Which jobs a stream is about. Of several values of one kind one is enough; an empty kind does not matter."""

    queues: frozenset[str] = frozenset()
    job_types: frozenset[str] = frozenset()
    job_ids: frozenset[UUID] = frozenset()

    def wants(self, event: FeedEvent) -> bool:
        """Whether the stream is to be told."""
        return (
            (not self.job_ids or event.job_id in self.job_ids)
            and (not self.queues or event.queue in self.queues)
            and (not self.job_types or event.job_type in self.job_types)
        )


@dataclass(slots=True)
class _Point:
    """A number that was the newest, and the transactions that were writing then. seen_at_s: monotonic."""

    seq: int
    writers: AbstractSet[str]
    seen_at_s: float


@dataclass(slots=True)
class SafeMark:
    """The number up to which the history is complete. Its owner reads the newest number first and only then who is writing."""

    reached: int = 0
    _points: deque[_Point] = field(default_factory=deque)

    @property
    def is_waiting(self) -> bool:
        """Whether a newer number waits for its writers to end."""
        return bool(self._points)

    def lag_s(self, now_s: float) -> float:
        """For how long the oldest number not passed yet has been known."""
        return now_s - self._points[0].seen_at_s if self._points else 0.0

    def newest(self) -> int:
        """The newest number known."""
        return self._points[-1].seq if self._points else self.reached

    def look(self, newest: int, writers: AbstractSet[str], *, now_s: float) -> int:
        """Take in the newest number and who was writing after it was read; answer how far the history is complete now."""
        assert newest >= self.newest(), "the sequence went back: forget() first"
        if newest > self.newest():
            seen_at_s = self._points.pop().seen_at_s if len(self._points) >= POINTS_MAX else now_s
            self._points.append(_Point(newest, writers, seen_at_s))
        while self._points and self._points[0].writers.isdisjoint(writers):
            self.reached = self._points.popleft().seq
        return self.reached
