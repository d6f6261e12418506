"""What a blocking submit returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol
from uuid import UUID

from jobqueue.protocol.jobs import Job, JobEvent


class Asks(Protocol):
    """What a handle needs of its client."""

    def get(self, job_id: UUID | str, *, wait: int = 0) -> Job:
        """Read a job."""

    def wait(self, job_id: UUID | str, *, timeout: float | None = None) -> Job:
        """Wait for its end."""

    def result(self, job_id: UUID | str, *, timeout: float | None = None) -> Any:
        """Wait for its result."""

    def events(self, job_id: UUID | str) -> Iterator[JobEvent]:
        """Read its history."""

    def cancel(self, job_id: UUID | str) -> Job:
        """Cancel it."""

    def retry(self, job_id: UUID | str, *, reset_attempts: bool = True) -> Job:
        """Send it back."""


class JobHandle:
    """A job that was submitted: what it was then, and what can be asked of it since."""

    def __init__(self, client: Asks, job: Job, *, is_replayed: bool = False) -> None:
        """is_replayed: an earlier submit with the same key had made the job."""
        self._client = client
        self.job = job
        self.is_replayed = is_replayed

    def __repr__(self) -> str:
        return f"<job {self.id} {self.job.job_type} {self.job.status}>"

    @property
    def id(self) -> UUID:
        """The job's id."""
        return self.job.id

    def get(self) -> Job:
        """Read the job as it is now."""
        self.job = self._client.get(self.id)
        return self.job

    def wait(self, timeout: float | None = None) -> Job:
        """Wait for its end, however it ends; as `Client.wait`."""
        self.job = self._client.wait(self.id, timeout=timeout)
        return self.job

    def result(self, timeout: float | None = None) -> Any:
        """Wait for its end and return its result; as `Client.result`."""
        return self._client.result(self.id, timeout=timeout)

    def events(self) -> Iterator[JobEvent]:
        """Read its whole history; as `Client.events`."""
        return self._client.events(self.id)

    def cancel(self) -> Job:
        """Cancel it; as `Client.cancel`."""
        self.job = self._client.cancel(self.id)
        return self.job

    def retry(self, *, reset_attempts: bool = True) -> Job:
        """Send it back to its queue; as `Client.retry`."""
        self.job = self._client.retry(self.id, reset_attempts=reset_attempts)
        return self.job
