"""What a job is: what is asked for, what is shown, and the bounds of both."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from jobqueue.domain.lifecycle import Event, Status

PRIORITIES: Final = ("critical", "high", "normal", "low")
"""Best first; the position is what the database stores."""

JOB_TYPE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
QUEUE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
TENANT_NAME: Final = re.compile(r"[a-z0-9-]{1,63}")
WORKER_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
IDEMPOTENCY_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")
CORRELATION_ID: Final = re.compile(r"[\x20-\x7e]{1,128}")

DATA_BYTES_MAX: Final = 256 * 1024
RESULT_BYTES_MAX: Final = 256 * 1024
METADATA_BYTES_MAX: Final = 16 * 1024
TAGS_MAX: Final = 50
TAG_CHARACTERS_MAX: Final = 100
CONCURRENCY_KEY_CHARACTERS_MAX: Final = 255
ATTEMPTS_MAX: Final = 1000
DELAY_S_MAX: Final = 366 * 86400
TIMEOUT_S_MAX: Final = 7 * 86400
EVENTS_PER_PAGE: Final = 500

HANDLER_OF: Final = "__jobqueue_handler__"
"""The attribute by which a function decorated with `@job` says what it is the handler of."""


@dataclass(frozen=True, slots=True)
class HandlerDefaults:
    """What a handler's jobs have where they do not say: its type, its queue, its attempts. None: the handler does not say either."""

    job_type: str
    queue: str | None = None
    max_attempts: int | None = None


@dataclass(slots=True)
class JobRequest:
    """A job as it is asked for; already checked against the bounds above.

    key_hash and request_hash are 128 bits of SHA-256: of the idempotency key, and of everything in the request that makes it this request.
    max_attempts, expires_in_s None: the queue's, else the settings' default. scheduled_at is aware.
    """

    job_type: str
    data_json: str
    key_hash: UUID | None
    request_hash: UUID | None
    idempotency_key: str | None
    queue: str = "default"
    priority: int = 2
    max_attempts: int | None = None
    scheduled_at: datetime | None = None
    delay_s: float | None = None
    timeout_s: int | None = None
    expires_in_s: float | None = None
    concurrency_key: str | None = None
    tags_json: str | None = None
    metadata_json: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None


@dataclass(slots=True)
class Submitted:
    """The job that stands behind a request. Made once a job, so not frozen: that would cost three times as much.

    is_new False: an earlier request with the same key made it, and the rest is not known.

    scheduled_at: the time a new job waits for; None: it is due.
    """

    job_id: UUID
    is_new: bool
    max_attempts: int = 0
    scheduled_at: datetime | None = None


@dataclass(slots=True)
class JobView:
    """A job as users see it (CONTRACT 3.3). *_json: JSON text, None where there is none or it was not asked for."""

    job_id: UUID
    tenant: str
    queue: str
    job_type: str
    status: Status
    priority: str
    attempt: int
    max_attempts: int
    progress: float | None
    progress_message: str | None
    waiting_reason: str | None
    concurrency_key: str | None
    tags: list[str]
    metadata_json: str | None
    idempotency_key: str | None
    correlation_id: str | None
    trace_id: str | None
    scheduled_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    lease_owner: str | None
    lease_expires_at: datetime | None
    error_json: str | None
    result_ref: str | None
    result_json: str | None
    data_json: str | None


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One thing that happened to a job. seq grows within a job, with gaps. type is without its `job.` prefix."""

    seq: int
    type: Event
    at: datetime
    attempt: int | None
    worker_id: str | None
    data_json: str | None


@dataclass(slots=True)
class JobCounts:
    """How many kept jobs of a tenant are in each status; retries: how often a job went back after a failure, ever."""

    by_status: dict[Status, int] = field(default_factory=dict)
    retries: int = 0
    as_of: datetime = field(default_factory=lambda: datetime.fromtimestamp(0, UTC))


def created_at(job_id: UUID) -> datetime:
    """Read the moment in a UUIDv7, to the millisecond."""
    return datetime.fromtimestamp((job_id.int >> 80) / 1000, UTC)
