"""Ways to a tenant's jobs for `ctx.jobs`: named in a JobsAddress, imported when a handler asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final
from uuid import UUID

from jobqueue.domain.job import JobView
from jobqueue.domain.job_filter import JobFilter
from jobqueue.operations import job_lists, tenants
from jobqueue.operations.database import open_database
from jobqueue.operations.jobs import Caller
from jobqueue.worker.surroundings import JobRow, JobsAddress

OF_DATABASE: Final = f"{__name__}:of_database"
PAGE_JOBS: Final = 500


def of_database(address: JobsAddress, tenant: str) -> DatabaseJobs:
    """Read jobs from the database."""
    return DatabaseJobs(address.address, tenant)


class DatabaseJobs:
    """One tenant's jobs, over one connection that lives as long as an iteration."""

    def __init__(self, dsn: str, tenant: str) -> None:
        self._dsn = dsn
        self._tenant = tenant

    async def iterate(self, *, created_after: datetime, created_before: datetime) -> AsyncIterator[JobRow]:
        """Give the jobs submitted in a period, newest first. Raises JobQueueError."""
        db = await open_database(self._dsn, size=1, application_name="jobqueue-handler")
        try:
            caller = Caller(await tenants.find(db, self._tenant), self._tenant)
            wanted = JobFilter(created_after=created_after, created_before=created_before)
            before: UUID | None = None
            while True:
                page = await job_lists.page(db, caller, wanted, before=before, limit=PAGE_JOBS, tenant_cap=0)
                for view in page.jobs:
                    yield _row(view)
                before = page.next_before
                if before is None:
                    return
        finally:
            await db.close()


def _row(view: JobView) -> JobRow:
    return JobRow(
        view.job_id,
        view.queue,
        view.job_type,
        view.status.value,
        view.priority,
        view.attempt,
        view.created_at,
        view.started_at,
        view.finished_at,
    )
