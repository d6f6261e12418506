"""What a live stream says (CONTRACT 3.5): one JSON object a message, over a WebSocket or as server-sent events."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from jobqueue.domain.lifecycle import Event
from jobqueue.protocol.jobs import Status
from jobqueue.protocol.wire import Answered

CURSOR_PATTERN: Final = r"[0-9]{1,18}"
JobEventType = Literal[
    "job.submitted",
    "job.blocked",
    "job.queued",
    "job.leased",
    "job.started",
    "job.failed",
    "job.succeeded",
    "job.snoozed",
    "job.released",
    "job.lease_expired",
    "job.cancel_requested",
    "job.cancelled",
    "job.expired",
    "job.dlq",
    "job.retried",
    "job.updated",
    "job.force_succeeded",
    "job.progress",
]
assert set(JobEventType.__args__) == {f"job.{event}" for event in Event} | {"job.progress"}  # type: ignore[attr-defined]

Cursor = Annotated[str, Field(pattern=f"^{CURSOR_PATTERN}$", description="Ask with `after` for what comes behind it.")]


class LiveJob(Answered):
    """A job as streams show it; GET it for the rest."""

    id: UUID
    tenant_id: str
    queue: str
    job_type: str
    status: Status
    attempt: int
    worker_id: str | None
    progress: float | None
    progress_message: str | None


class Ready(Answered):
    """The first message: the stream stands. What comes next is behind this cursor."""

    type: Literal["ready"]
    cursor: Cursor


class JobChanged(Answered):
    """Something happened to a job; `job` is as it was right after. `job.progress` is live only and the newest wins."""

    type: JobEventType
    cursor: Cursor
    at: datetime
    job: LiveJob


class SnapshotJob(Answered):
    """With `snapshot`: one job as it is now."""

    type: Literal["snapshot"]
    cursor: Cursor
    job: LiveJob


class SnapshotEnd(Answered):
    """The snapshot is told; changes follow, none missing and none told twice. is_complete: there were no more jobs than these."""

    type: Literal["snapshot_end"]
    cursor: Cursor
    jobs: int
    is_complete: bool


class Reset(Answered):
    """What was asked for with `after` is no longer kept: read the jobs again. The stream goes on behind this cursor."""

    type: Literal["reset"]
    cursor: Cursor


class Lagged(Answered):
    """The client did not read fast enough and is let go; come back with `after` = this cursor."""

    type: Literal["lagged"]
    cursor: Cursor


class StreamTicket(Answered):
    """Opens one stream, within so many seconds."""

    ticket: str
    expires_in: int


MESSAGES: Final[tuple[type[BaseModel], ...]] = (Ready, JobChanged, SnapshotJob, SnapshotEnd, Reset, Lagged)
"""Everything a stream says."""
