"""Many jobs on the line: which ones a list or a bulk call is about, a page of them, and what is changed by hand (CONTRACT 3.2)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import UUID

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from jobqueue.domain.job import CORRELATION_ID, TAG_CHARACTERS_MAX
from jobqueue.domain.job_filter import BULK_MAX
from jobqueue.protocol.jobs import Attempts, JobType, Priority, QueueName, Status, WaitingReason
from jobqueue.protocol.wire import Answered, Asked, Json, Moment, Whole

VALUES_MAX: Final = 50
"""Values of one kind a filter takes."""
REASON_CHARACTERS_MAX: Final = 1_000

CorrelationId = Annotated[str, StringConstraints(pattern=f"^{CORRELATION_ID.pattern}$")]
FilterTag = Annotated[str, StringConstraints(min_length=1, max_length=TAG_CHARACTERS_MAX, pattern=r"^[^\x00]*$")]
"""A tag as a query names it: no job has one with U+0000, which strict JSON keeps out of bodies but a URL can hold."""
Value = TypeVar("Value")


class OneOrMore:
    """Takes one value as well as a list of them."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._read, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        several = handler(schema)
        return {"anyOf": [several["items"], several]}

    @staticmethod
    def _read(value: Any, read_list: Any) -> Any:
        if isinstance(value, list):
            return read_list(value)
        try:
            return read_list([value])
        except ValidationError as error:  # its place is the field, not an entry of a list nobody sent
            raise ValueError(error.errors()[0]["msg"]) from error


Several = Annotated[list[Value], Field(max_length=VALUES_MAX), OneOrMore()]


class JobsFilter(Asked):
    """Which jobs. One of the values of a kind is enough, but of tags all must be there; what is left out does not matter."""

    status: Several[Status] = Field(default_factory=list)
    queue: Several[QueueName] = Field(default_factory=list)
    job_type: Several[JobType] = Field(default_factory=list)
    priority: Several[Priority] = Field(default_factory=list)
    tag: Several[FilterTag] = Field(default_factory=list)
    correlation_id: Several[CorrelationId] = Field(default_factory=list)
    created_after: Moment | None = Field(default=None, description="This moment or later.")
    created_before: Moment | None = Field(default=None, description="Before this moment.")


class DlqFilter(JobsFilter):
    """Which jobs of the dead letter queue."""

    status: Several[Literal["dlq"]] = Field(default_factory=list, description="Need not be said.")  # type: ignore[assignment]  # narrower


class BulkRequest(Asked):
    """What bulk calls share."""

    limit: Annotated[int, Field(ge=1, le=BULK_MAX), Whole] = Field(default=BULK_MAX, description="The newest so many.")
    dry_run: bool = Field(default=False, description="Only count them.")


class CancelRequest(BulkRequest):
    """Which jobs to cancel: those of the filter that wait or run."""

    filter: JobsFilter = Field(description="An empty one names every job of the tenant.")


class ReplayRequest(BulkRequest):
    """Which jobs of the dead letter queue to send back to their queues, their attempts reset."""

    filter: DlqFilter = Field(default_factory=DlqFilter, description="None: all of it.")


class BulkCount(Answered):
    """How many jobs it was, or would be."""

    count: int


class JobPatch(Asked):
    """What to change of a job that waits; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    priority: Priority = "normal"
    scheduled_at: Moment | None = Field(default=None, description="Null or a time in the past is now.")
    max_attempts: Attempts = Field(default=1, description="More than the job has used.")


class ForceSuccess(Asked):
    """How to declare a job done."""

    result: Json = None
    reason: Annotated[str, StringConstraints(max_length=REASON_CHARACTERS_MAX)] | None = None


class ListedPayload(Answered):
    """What a job of a list runs; GET the job for its data."""

    job_type: str


class ListedError(Answered):
    """What the last run failed with; GET the job for the traceback."""

    type: str
    message: str


class ListedJob(Answered):
    """A job as a list shows it."""

    id: UUID
    tenant_id: str
    queue: str
    payload: ListedPayload
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
    error: ListedError | None
    result_ref: str | None


class JobsPage(Answered):
    """Jobs, newest first. It may be short while has_more is true: a page reads a bounded number of rows."""

    items: list[ListedJob]
    next_cursor: str | None
    has_more: bool
