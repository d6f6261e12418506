"""The way to a tenant's jobs for `ctx.jobs` over HTTP: named in a JobsAddress, imported when a handler asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

from jobqueue.client.async_client import AsyncClient
from jobqueue.worker.surroundings import JobRow, JobsAddress

OF_SERVICE: Final = f"{__name__}:of_service"


def of_service(address: JobsAddress, tenant: str) -> ServiceJobs:  # noqa: ARG001 - the key is the tenant's own
    """Read jobs through the API."""
    assert address.credential is not None
    return ServiceJobs(address.address, address.credential)


class ServiceJobs:
    """One tenant's jobs, page by page."""

    def __init__(self, url: str, api_key: str) -> None:
        self._url = url
        self._api_key = api_key

    async def iterate(self, *, created_after: datetime, created_before: datetime) -> AsyncIterator[JobRow]:
        """Give the jobs submitted in a period, newest first. The key needs `jobs:read`. Raises JobQueueError."""
        async with AsyncClient(self._url, api_key=self._api_key) as client:
            async for job in client.iterate(created_after=created_after, created_before=created_before):
                yield JobRow(
                    job.id,
                    job.queue,
                    job.job_type,
                    job.status,
                    job.priority,
                    job.attempt,
                    job.created_at,
                    job.started_at,
                    job.finished_at,
                )
