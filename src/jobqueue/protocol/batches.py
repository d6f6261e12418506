"""Many jobs in one call (CONTRACT 3.2): a batch, and what an import answers."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from jobqueue.domain.job import IDEMPOTENCY_KEY
from jobqueue.protocol.jobs import BOTH_TIMES, JobRequest
from jobqueue.protocol.wire import Answered, Asked

JOBS_MAX: Final = 1_000
ERRORS_SHOWN_MAX: Final = 1_000


class BatchJob(JobRequest):
    """One job of a batch: as it is asked for alone, with its key beside it."""

    model_config = ConfigDict(json_schema_extra={"not": BOTH_TIMES})

    idempotency_key: Annotated[str, StringConstraints(pattern=f"^{IDEMPOTENCY_KEY.pattern}$")] = Field(
        description="1-255 printable ASCII characters."
    )


class Batch(Asked):
    """Jobs to store together, or none of them. Of several with one key the first counts, the others are answered as if they came later."""

    jobs: list[BatchJob] = Field(min_length=1, max_length=JOBS_MAX)


class BatchResult(Answered):
    """What became of one job. `conflict`: its key was used with another body, by the job with this id."""

    status: Literal["created", "replayed", "conflict"]
    id: UUID


class BatchResults(Answered):
    """What became of the jobs, in their order."""

    results: list[BatchResult]


class ImportFault(Answered):
    """A row that was left out; line counts from 1, the header of a CSV file included."""

    line: int
    detail: str


class ImportResult(Answered):
    """What became of the rows."""

    created: int
    replayed: int = Field(description="Rows an earlier import has stored, or an earlier row with the same key and content.")
    conflicts: int = Field(description="Rows whose key was used with another content; they are left out.")
    invalid: int = Field(description="Rows that cannot be a job; they are left out.")
    errors: list[ImportFault] = Field(description="The first 1,000 of the conflicts and invalid rows.")
