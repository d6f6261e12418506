"""What a handler sees: its Context, and the exceptions by which it says what should follow."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

import orjson

from jobqueue.worker.files import Files
from jobqueue.worker.surroundings import Surroundings, TenantJobs, open_jobs
from jobqueue.worker.text import storable

if TYPE_CHECKING:
    from jobqueue.domain.lease import Lease

PROGRESS_MESSAGE_CHARS_MAX: Final = 500
"""Longer messages are cut: they are shown in lists and sent with every beat."""

NO_SURROUNDINGS: Final = Surroundings()


class Retry(Exception):
    """Fail this attempt and try again, after `delay` seconds if given, else after the usual backoff. Attempts are counted."""

    def __init__(self, delay: float | None = None, *, reason: str = "the handler asked for a retry") -> None:
        super().__init__(reason)
        assert delay is None or delay >= 0, "delay is in seconds from now"
        self.delay = delay


class Discard(Exception):
    """Fail the job for good: trying again is of no use."""

    def __init__(self, reason: str = "the handler discarded the job") -> None:
        super().__init__(reason)


class Snooze(Exception):
    """Not now: run again after `seconds`. The attempt is given back."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"snoozed for {seconds} s")
        assert seconds >= 0, "seconds from now"
        self.seconds = seconds


class ArgumentError(Exception):
    """The job's data does not fit the handler's signature; the message names the argument, never its value."""


class Reporter(Protocol):
    """Who a Context speaks for: the run in this process, or its stand-in inside an isolated one."""

    @property
    def is_cancelled(self) -> bool:
        """Whether the run should end: cancelled, lease lost, past its deadline, or the worker stops."""

    def report_progress(self, percent: float, message: str) -> None:
        """Keep the newest progress for the next beat. Never blocks; any thread."""


@dataclass(frozen=True, slots=True)
class JobView:
    """The job as its handler sees it. `tenant_id` is the tenant's name."""

    id: UUID
    tenant_id: str
    queue: str
    job_type: str
    data: dict[str, Any]
    priority: str
    attempt: int
    max_attempts: int
    tags: list[str]
    metadata: dict[str, Any]
    idempotency_key: str | None
    correlation_id: str | None
    created_at: datetime


class _Done:
    """An awaitable whose act is over already, so that `await` is allowed but not needed."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


_DONE: Final = _Done()


class Context:
    """A handler's first argument: the job, whether to stop, where to tell progress, its files. Safe to use from a thread."""

    __slots__ = ("_job", "_lease", "_reporter", "surroundings")

    def __init__(self, lease: Lease, reporter: Reporter, surroundings: Surroundings = NO_SURROUNDINGS) -> None:
        self._lease = lease
        self._reporter = reporter
        self.surroundings = surroundings
        self._job: JobView | None = None

    @property
    def job(self) -> JobView:
        """The job; made on first use, since most handlers never look."""
        if self._job is None:
            self._job = _view(self._lease)
        return self._job

    @property
    def attempt(self) -> int:
        """This run's number, from 1."""
        return self._lease.standing.attempt

    @property
    def cancelled(self) -> bool:
        """Whether to stop: cancelled, lease lost, past the deadline, or the worker shuts down. Once true it stays so."""
        return self._reporter.is_cancelled

    @property
    def files(self) -> Files:
        """The tenant's files. Every use of them raises FileRefused on a worker that has no files directory."""
        return Files(self.surroundings.files_dir, self._lease.tenant)

    @property
    def jobs(self) -> TenantJobs:
        """The jobs of the job's tenant, and of no other. Raises JobsNotReachable on a worker without a way to them."""
        return open_jobs(self.surroundings.jobs, self._lease.tenant)

    def progress(self, percent: float, message: str = "") -> _Done:
        """Tell how far the job is: percent in [0, 100]. It is kept for the next beat; only the newest counts.

        The call itself does it, so a plain `def` handler calls it without `await`. Raises ValueError out of range.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"progress is a percentage from 0 to 100, not {percent!r}")
        self._reporter.report_progress(float(percent), storable(message[:PROGRESS_MESSAGE_CHARS_MAX]))
        return _DONE


def _view(lease: Lease) -> JobView:
    return JobView(
        id=lease.job_id,
        tenant_id=lease.tenant,
        queue=lease.queue,
        job_type=lease.job_type,
        data=orjson.loads(lease.data_json),
        priority=lease.priority,
        attempt=lease.standing.attempt,
        max_attempts=lease.standing.policy.attempts_max,
        tags=list(lease.tags),
        metadata={} if lease.metadata_json is None else orjson.loads(lease.metadata_json),
        idempotency_key=lease.idempotency_key,
        correlation_id=lease.correlation_id,
        created_at=lease.created_at,
    )
