"""Work on the line: workers, claims, heartbeats, settles (CONTRACT 3.4).

What one lease of a batch says wrongly must not cost the others theirs: texts too long are cut and figures out of range are clamped by the
server rather than refused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from jobqueue.domain.job import DELAY_S_MAX, JOB_TYPE, QUEUE_NAME, WORKER_NAME
from jobqueue.protocol.jobs import Job, JobType
from jobqueue.protocol.wire import Answered, Asked, Json, Whole

EVERY_QUEUE: Final = "*"
QUEUES_MAX: Final = 200
JOB_TYPES_MAX: Final = 1_000
CONCURRENCY_MAX: Final = 100_000
CLAIM_JOBS_MAX: Final = 500
WAIT_S_MAX: Final = 30
BEATS_MAX: Final = 5_000
OUTCOMES_MAX: Final = 500
VERSION_CHARACTERS_MAX: Final = 200
REFERENCE_CHARACTERS_MAX: Final = 2_000


def read_uuid(value: Any) -> Any:
    """Read a UUID in its usual form; leave everything else to the type."""
    if not isinstance(value, str):
        return value
    if len(value) != 36:
        raise ValueError("must be a UUID")
    return UUID(value)


Id = Annotated[UUID, BeforeValidator(read_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
WorkerId = Annotated[str, StringConstraints(pattern=f"^{WORKER_NAME.pattern}$")]
QueueChoice = Annotated[str, StringConstraints(pattern=rf"^(\*|{QUEUE_NAME.pattern})$")]
Queues = Annotated[list[QueueChoice], Field(min_length=1, max_length=QUEUES_MAX, description="`*` among them: all of them.")]
JobTypes = Annotated[list[JobType], Field(min_length=1, max_length=JOB_TYPES_MAX, description=f"`{JOB_TYPE.pattern}`, no `*`.")]
WorkerState = Literal["running", "quiet", "stopped"]
DirectiveName = Literal["run", "quiet", "terminate"]
OutcomeName = Literal["succeeded", "failed", "snoozed", "released", "cancelled"]


class WorkerOffer(Asked):
    """What a worker takes."""

    queues: Queues = Field(default_factory=lambda: [EVERY_QUEUE])
    job_types: JobTypes
    concurrency: Annotated[int, Field(ge=1, le=CONCURRENCY_MAX), Whole] = 1
    version: Annotated[str, StringConstraints(max_length=VERSION_CHARACTERS_MAX)] | None = None


class WorkerTerms(Answered):
    """How often to say that the worker lives, and how long its leases live without that."""

    heartbeat_seconds: float
    lease_seconds: float


class Worker(Answered):
    """A worker. Database workers serve all tenants; `running` counts the tenant's own jobs."""

    worker_id: str
    queues: list[str]
    job_types: list[str]
    concurrency: int
    version: str | None
    state: WorkerState
    directive: DirectiveName
    running: int
    started_at: datetime
    last_heartbeat_at: datetime


class WorkersPage(Answered):
    """Who is alive, by name."""

    items: list[Worker]
    next_cursor: str | None
    has_more: bool


class LeaseRequest(Asked):
    """A claim of due jobs."""

    worker_id: WorkerId
    claim_id: Id | None = Field(
        default=None, description="Sent again, it gives what is still held of this claim: an answer that got lost loses no job."
    )
    queues: Queues = Field(default_factory=lambda: [EVERY_QUEUE])
    job_types: JobTypes
    max_jobs: Annotated[int, Field(ge=0, le=CLAIM_JOBS_MAX), Whole] = Field(
        default=1, description="0: claim nothing anew, only give what `claim_id` still holds."
    )
    wait_seconds: float = Field(default=0, ge=0, le=WAIT_S_MAX, description="How long to wait for the first job.")
    lease_seconds: float | None = Field(
        default=None, description="Between 5 and 3600, what lies beyond is brought there; null: 30 unless set."
    )


class GrantedLease(Answered):
    """A job in the worker's hands. The token is the right to report on it."""

    job: Job
    lease_token: UUID
    attempt: int
    lease_expires_at: datetime | None
    lease_seconds: float = Field(description="How long it lives after each heartbeat.")
    lease_expires_in_seconds: float = Field(description="The same as lease_expires_at, for clocks that differ.")
    timeout_seconds: float = Field(description="How long the run may take.")
    crashes: int = Field(description="Runs before this one that took their worker with them; above 0, run it in a process of its own.")
    traceparent: str | None


class Leases(Answered):
    """What was claimed; none after the wait."""

    leases: list[GrantedLease]
    waited_seconds: float = Field(default=0, description="How long the request was held before these were claimed.")


class LeaseBeat(Asked):
    """What a worker says of one lease. All but its name may be left out."""

    job_id: Id
    lease_token: Id
    progress: float | None = Field(default=None, description="0-100.")
    message: str | None = Field(default=None, description="Cut at 1,000 characters.")
    started_seconds_ago: float | None = Field(default=None, description="Since its handler started; null: it has not.")


class Heartbeat(Asked):
    """A worker lives, and renews its leases."""

    state: WorkerState = "running"
    leases: list[LeaseBeat] = Field(default_factory=list, max_length=BEATS_MAX)


class BeatAnswer(Answered):
    """What became of one renewal. `ok` without an expiry: not renewed just now and not lost; beat again."""

    job_id: UUID
    status: Literal["ok", "lost", "cancel_requested"]
    lease_expires_at: datetime | None


class HeartbeatAnswer(Answered):
    """What to do, and what became of each lease, in order."""

    directive: DirectiveName
    leases: list[BeatAnswer]


class ReportedError(Asked):
    """What went wrong. Long texts are cut; of a traceback the end is kept."""

    type: str = "Error"
    message: str = ""
    traceback: str | None = None


class OutcomeFields(Asked):
    """How a run ended, without saying of which job."""

    result: Json = Field(default=None, description="At most 256 KiB, no U+0000; else the job settles as failed, `ResultRejected`.")
    result_ref: Annotated[str, StringConstraints(max_length=REFERENCE_CHARACTERS_MAX)] | None = Field(
        default=None, description="Where a result is that is kept elsewhere."
    )
    error: ReportedError | None = None
    retry: Literal["auto", "never"] = "auto"
    delay_seconds: float | None = Field(default=None, ge=0, le=DELAY_S_MAX, description="Of a retry or a snooze.")
    ran_seconds: float | None = Field(default=None, description="Since the handler started.")
    crashed: bool = Field(default=False, description="The run took its own process with it; counts as a crash.")


class ReportedOutcome(OutcomeFields):
    """How one run ended."""

    job_id: Id
    lease_token: Id
    outcome: OutcomeName


class SettleRequest(Asked):
    """How runs ended."""

    outcomes: list[ReportedOutcome] = Field(min_length=1, max_length=OUTCOMES_MAX)


class SettleAnswer(Answered):
    """What became of one settle. `replayed`: the same was told before. next_status null: the lease is lost, nothing changed."""

    job_id: UUID
    status: Literal["settled", "replayed", "lease_lost"]
    next_status: str | None


class SettleAnswers(Answered):
    """What became of each, in order."""

    results: list[SettleAnswer]


class JobOutcome(OutcomeFields):
    """How the run of one job ended."""

    lease_token: Id


class JobProgress(Asked):
    """How far one job is; it also renews the lease."""

    lease_token: Id
    progress: float | None = Field(default=None, description="0-100.")
    message: str | None = Field(default=None, description="Cut at 1,000 characters.")
