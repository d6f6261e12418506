"""A job as a program asks for it, and the body that says so."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from jobqueue.domain.job import HANDLER_OF, HandlerDefaults

KEY_BYTES: Final = 16
QUEUE_DEFAULT: Final = "default"

JobType = str | Callable[..., Any]
"""What a job runs: its type by name, or the function that `@job` made its handler."""


def make_key() -> str:
    """Make an idempotency key of 128 random bits, so that a call may be sent again although its caller gave none."""
    return secrets.token_hex(KEY_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """One job to submit. What is None is the handler's, the queue's or the server's default.

    job_type: a name, or a function decorated with `@job`, whose name, queue and max_attempts then count where the job gives none.
    idempotency_key: 1-255 printable ASCII characters; the same key and job again is the same job, for at least 24 h after it ended. None:
    one is made, which protects against lost answers, not against submitting twice. delay, timeout and expires_in: seconds or a timedelta;
    delay and scheduled_at (with an offset) exclude each other. timeout bounds one run, expires_in how long it may wait for its first one.
    """

    job_type: JobType
    data: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    queue: str | None = None
    priority: str = "normal"
    max_attempts: int | None = None
    scheduled_at: datetime | None = None
    delay: float | timedelta | None = None
    timeout: float | timedelta | None = None
    expires_in: float | timedelta | None = None
    concurrency_key: str | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """Say it as CONTRACT 3.2 does, without what is left to the defaults. Raises TypeError for a function that is no handler."""
        handler = defaults_of(self.job_type)
        timeout_s = seconds(self.timeout)
        asked: dict[str, Any] = {
            "payload": {"job_type": handler.job_type, "data": dict(self.data)},
            "queue": self.queue or handler.queue or QUEUE_DEFAULT,
            "priority": self.priority,
            "max_attempts": handler.max_attempts if self.max_attempts is None else self.max_attempts,
            "scheduled_at": self.scheduled_at,
            "delay_seconds": seconds(self.delay),
            "timeout_seconds": None if timeout_s is None else max(1, round(timeout_s)),
            "expires_in_seconds": seconds(self.expires_in),
            "concurrency_key": self.concurrency_key,
            "tags": list(self.tags),
            "metadata": dict(self.metadata),
        }
        return {name: value for name, value in asked.items() if value is not None}


def defaults_of(job_type: JobType) -> HandlerDefaults:
    """Say what a job of this type has unless it says otherwise. Raises TypeError for a function that is no handler."""
    if isinstance(job_type, str):
        return HandlerDefaults(job_type)
    found = getattr(job_type, HANDLER_OF, None)
    if not isinstance(found, HandlerDefaults):
        raise TypeError(f"{job_type!r} is no handler: decorate it with @job, or name the job type")
    return found


def seconds(duration: float | timedelta | None) -> float | None:
    """Read a duration."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration
