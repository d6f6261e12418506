"""What a submit on an event loop returns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol
from uuid import UUID

from jobqueue.protocol.jobs import Job, JobEvent


class Asks(Protocol):
    """What a handle needs of its client."""

    async def get(self, job_id: UUID | str, *, wait: int = 0) -> Job:
        """Read a job."""

    async def wait(self, job_id: UUID | str, *, timeout: float | None = None) -> Job:  # noqa: ASYNC109 - as the client
        """Wait for its end."""

    async def result(self, job_id: UUID | str, *, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as the client
        """Wait for its result."""

    def events(self, job_id: UUID | str) -> AsyncIterator[JobEvent]:
        """Read its history."""

    async def cancel(self, job_id: UUID | str) -> Job:
        """Cancel it."""

    async def retry(self, job_id: UUID | str, *, reset_attempts: bool = True) -> Job:
        """Send it back."""


class AsyncJobHandle:
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

    async def get(self) -> Job:
        """Read the job as it is now."""
        self.job = await self._client.get(self.id)
        return self.job

    async def wait(self, timeout: float | None = None) -> Job:  # noqa: ASYNC109 - the contract's name
        """Wait for its end, however it ends; as `AsyncClient.wait`."""
        self.job = await self._client.wait(self.id, timeout=timeout)
        return self.job

    async def result(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - the contract's name
        """Wait for its end and return its result; as `AsyncClient.result`."""
        return await self._client.result(self.id, timeout=timeout)

    def events(self) -> AsyncIterator[JobEvent]:
        """Read its whole history; as `AsyncClient.events`."""
        return self._client.events(self.id)

    async def cancel(self) -> Job:
        """Cancel it; as `AsyncClient.cancel`."""
        self.job = await self._client.cancel(self.id)
        return self.job

    async def retry(self, *, reset_attempts: bool = True) -> Job:
        """Send it back to its queue; as `AsyncClient.retry`."""
        self.job = await self._client.retry(self.id, reset_attempts=reset_attempts)
        return self.job
