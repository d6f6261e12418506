"""A job on the line: as it is asked for, as it is shown, its history and its result (CONTRACT 3.2, 3.3)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from jobqueue.domain.job import (
    ATTEMPTS_MAX,
    CONCURRENCY_KEY_CHARACTERS_MAX,
    DELAY_S_MAX,
    JOB_TYPE,
    QUEUE_NAME,
    TAG_CHARACTERS_MAX,
    TAGS_MAX,
    TIMEOUT_S_MAX,
)
from jobqueue.protocol.wire import POINTER, Answered, Asked, Json, Moment, Whole

Status = Literal["scheduled", "blocked", "queued", "leased", "running", "failed", "succeeded", "cancelled", "expired", "dlq"]
Priority = Literal["critical", "high", "normal", "low"]
WaitingReason = Literal["paused", "no_worker", "throttled"]

JobType = Annotated[str, StringConstraints(pattern=f"^{JOB_TYPE.pattern}$")]
QueueName = Annotated[str, StringConstraints(pattern=f"^{QUEUE_NAME.pattern}$")]
Attempts = Annotated[int, Field(ge=1, le=ATTEMPTS_MAX), Whole]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=TAG_CHARACTERS_MAX)]

TWO_TIMES: Final = "scheduled_at and delay_seconds exclude each other"
FREE_FORM: Final = "Integers within 64 bits, no U+0000, no key twice, nested at most 64 deep with all around it."
BOTH_TIMES: Final[dict[str, Any]] = {
    "required": ["scheduled_at", "delay_seconds"],
    "properties": {"scheduled_at": {"type": "string"}, "delay_seconds": {"type": "number"}},
}


class Payload(Asked):
    """What to run, and on what."""

    job_type: JobType
    data: dict[str, Any] = Field(default_factory=dict, description=f"At most 256 KiB as compact JSON. {FREE_FORM}")


class JobRequest(Asked):
    """A job as it is asked for. Null means the default everywhere."""

    model_config = ConfigDict(json_schema_extra={"not": BOTH_TIMES})

    payload: Payload
    queue: QueueName = "default"
    priority: Priority = "normal"
    max_attempts: Attempts | None = Field(default=None, description="The queue's or the server's default, 3 unless set.")
    scheduled_at: Moment | None = Field(default=None, description="A time in the past is now.")
    delay_seconds: float | None = Field(default=None, ge=0, le=DELAY_S_MAX)
    timeout_seconds: Annotated[int, Field(ge=1, le=TIMEOUT_S_MAX), Whole] | None = None
    expires_in_seconds: float | None = Field(default=None, gt=0, le=DELAY_S_MAX, description="Not started by then, it never is.")
    concurrency_key: Annotated[str, StringConstraints(min_length=1, max_length=CONCURRENCY_KEY_CHARACTERS_MAX)] | None = None
    tags: list[Tag] = Field(default_factory=list, max_length=TAGS_MAX)
    metadata: dict[str, Any] = Field(default_factory=dict, description=f"At most 16 KiB as compact JSON. {FREE_FORM}")

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.scheduled_at is not None and self.delay_seconds is not None:
            raise PydanticCustomError(POINTER, TWO_TIMES, {"pointer": "/delay_seconds"})
        return self


class RetryRequest(Asked):
    """How to send a job back to the queue."""

    reset_attempts: bool = True


class NoFields(Asked):
    """A body that says nothing."""


class JobPayload(Answered):
    """What a job runs."""

    job_type: str
    data: dict[str, Json]


class JobError(Answered):
    """What the last run failed with."""

    type: str
    message: str
    traceback: str | None = None


class Job(Answered):
    """A job as it is shown."""

    id: UUID
    tenant_id: str
    queue: str
    payload: JobPayload
    job_type: str
    status: Status
    priority: Priority
    attempt: int
    max_attempts: int
    progress: float | None
    progress_message: str | None
    waiting_reason: WaitingReason | None
    concurrency_key: str | None
    tags: list[str]
    metadata: dict[str, Json]
    idempotency_key: str | None
    correlation_id: str | None
    trace_id: str | None
    scheduled_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    lease_owner: str | None
    lease_expires_at: datetime | None
    error: JobError | None
    result_ref: str | None


class JobEvent(Answered):
    """One thing that happened to a job; seq grows within a job, with gaps."""

    seq: int
    type: str
    at: datetime
    attempt: int | None
    worker_id: str | None
    data: Json


class EventsPage(Answered):
    """Part of a job's history, in order."""

    items: list[JobEvent]
    next_cursor: str | None
    has_more: bool


class JobResult(Answered):
    """How a job ended; result is null unless it succeeded."""

    job_id: UUID
    status: Literal["succeeded", "cancelled", "expired", "dlq"]
    result: Json
    result_ref: str | None
    finished_at: datetime | None


class JobStats(Answered):
    """How many kept jobs are in each status."""

    by_status: dict[Status, int]
    total: int
    retries_total: int
    as_of: datetime
