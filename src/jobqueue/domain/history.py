"""Unpack event rows: one row reads as up to four events, [leased] [started] type [then].

A job that ends before its holder's first report costs one row at settle instead of three. Public seq = row seq * SLOTS + place, so it
grows within a job and a cursor can stand between the events of one row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from jobqueue.domain.job import HistoryEvent
from jobqueue.domain.lifecycle import Event

SLOTS: Final = 8
"""Places a row has; four are used, the rest is room."""

LEASED_SLOT, STARTED_SLOT, TYPE_SLOT, THEN_SLOT = range(4)


@dataclass(slots=True)
class EventRow:
    """A row of the history as stored."""

    seq: int
    type: str
    then_type: str | None
    at: datetime
    leased_at: datetime | None
    started_at: datetime | None
    attempt: int | None
    worker_id: str | None
    data_json: str | None


def unpack(row: EventRow) -> Iterator[HistoryEvent]:
    """Read a row as its events, in order."""
    base = row.seq * SLOTS
    if row.leased_at is not None:
        yield HistoryEvent(base + LEASED_SLOT, Event.LEASED, row.leased_at, row.attempt, row.worker_id, None)
    if row.started_at is not None:
        yield HistoryEvent(base + STARTED_SLOT, Event.STARTED, row.started_at, row.attempt, row.worker_id, None)
    yield HistoryEvent(base + TYPE_SLOT, Event(row.type), row.at, row.attempt, row.worker_id, row.data_json)
    if row.then_type is not None:
        yield HistoryEvent(base + THEN_SLOT, Event(row.then_type), row.at, row.attempt, None, None)


def row_of(public_seq: int) -> int:
    """The row an event stands in."""
    return public_seq // SLOTS
