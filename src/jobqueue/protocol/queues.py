"""A queue on the line: its settings, its figures (CONTRACT 3.2)."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field

from jobqueue.domain.job import DELAY_S_MAX
from jobqueue.protocol.jobs import Attempts
from jobqueue.protocol.wire import Answered, Asked, Whole

CONCURRENCY_MAX: Final = 1_000_000
RATE_MIN, RATE_MAX = 0.001, 1_000_000.0
"""Starts a second: less than one in a quarter of an hour is a schedule, not a rate."""


class Queue(Answered):
    """A queue's settings. Null: the tenant's or the server's default stands."""

    name: str
    paused: bool
    max_concurrent: int | None
    key_max_concurrent: int
    rate_per_second: float | None
    max_attempts: int | None
    retry_base_seconds: float | None


class QueueChange(Asked):
    """Settings to change; what is left out stays, null is the default."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    paused: bool | None = Field(default=None, description="While true no job is claimed; those that run go on.")
    max_concurrent: Annotated[int, Field(ge=0, le=CONCURRENCY_MAX), Whole] | None = Field(
        default=None, description="Jobs leased and running at once; null or 0: no limit of the queue's own."
    )
    key_max_concurrent: Annotated[int, Field(ge=1, le=CONCURRENCY_MAX), Whole] | None = Field(
        default=None, description="The same of one concurrency key, 1 unless set."
    )
    rate_per_second: float | None = Field(
        default=None, ge=RATE_MIN, le=RATE_MAX, description="Starts a second; a second's worth may start at once."
    )
    max_attempts: Attempts | None = Field(default=None, description="Of jobs submitted from now on that do not say.")
    retry_base_seconds: float | None = Field(
        default=None, ge=0, le=DELAY_S_MAX, description="The first wait after a failure, before jitter."
    )


class QueuesPage(Answered):
    """The tenant's queues, by name."""

    items: list[Queue]
    next_cursor: str | None
    has_more: bool


class QueueFigures(Answered):
    """A queue's figures; rates are jobs a second over the last minute."""

    ready: int
    scheduled: int
    running: int = Field(description="Leased ones, too.")
    failed: int
    dlq: int
    oldest_ready_age_seconds: float
    arrival_rate: float
    completion_rate: float
    desired_workers: int = Field(description="Workers that keep up with arrivals and are rid of what waits within a minute.")


class QueuesStats(Answered):
    """Figures by queue."""

    queues: dict[str, QueueFigures]
