"""Between a filter on the line and the domain's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from jobqueue.api.shapes import PRIORITY_NUMBERS, job_object
from jobqueue.domain.job import JobView
from jobqueue.domain.job_filter import JobFilter
from jobqueue.domain.lifecycle import Status
from jobqueue.protocol.filters import DlqFilter, JobsFilter

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)


def to_domain(asked: JobsFilter) -> JobFilter:
    """Turn a filter into the domain's; each kind's values sorted and once, so that equal filters are equal."""
    return JobFilter(
        statuses=tuple(sorted(map(Status, set(asked.status)))),
        queues=tuple(sorted(set(asked.queue))),
        job_types=tuple(sorted(set(asked.job_type))),
        priorities=tuple(sorted({PRIORITY_NUMBERS[name] for name in asked.priority})),
        tags=tuple(sorted(set(asked.tag))),
        correlation_ids=tuple(sorted(set(asked.correlation_id))),
        created_after=_in_ids(asked.created_after),
        created_before=_in_ids(asked.created_before),
    )


def to_dlq(asked: DlqFilter) -> JobFilter:
    """Turn a filter over the dead letter queue into the domain's."""
    return replace(to_domain(asked), statuses=(Status.DLQ,))


def listed_object(view: JobView) -> dict[str, Any]:
    """Show a job as lists do: without its data, and without the traceback of its error."""
    error: Mapping[str, Any] | None = None if view.error_json is None else orjson.loads(view.error_json)
    return {
        **job_object(view),
        "payload": {"job_type": view.job_type},
        "error": None if error is None else {name: value for name, value in error.items() if name != "traceback"},
    }


def _in_ids(moment: datetime | None) -> datetime | None:
    """The first whole millisecond at or after a moment: ids hold those from 1970 on, so both bounds are exact with it."""
    if moment is None:
        return None
    bounded = min(max(moment, EPOCH), LATEST)
    return bounded + (-bounded.microsecond % 1000) * timedelta(microseconds=1) if bounded < LATEST else LATEST
