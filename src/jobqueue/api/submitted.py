"""Tell what submits became: counted, and where they are sampled traced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager

from jobqueue.domain.errors import IdempotencyKeyReused
from jobqueue.domain.job import PRIORITIES, JobRequest, Submitted
from jobqueue.telemetry.events import JobsSubmitted, Telemetry
from jobqueue.telemetry.traces import NO_SPANS, Submitting, Traces


def tell_submitted(
    telemetry: Telemetry, tenant: str, asked: Sequence[JobRequest], stored: Sequence[Submitted | IdempotencyKeyReused]
) -> None:
    """Count the jobs that are new, by priority."""
    new = Counter(request.priority for request, one in zip(asked, stored, strict=True) if isinstance(one, Submitted) and one.is_new)
    for priority, count in new.items():
        telemetry.emit(JobsSubmitted(tenant, PRIORITIES[priority], count))


def submitting(traces: Traces | None, tenant: str, asked: Sequence[JobRequest]) -> AbstractContextManager[Sequence[Submitting]]:
    """Trace what is submitted inside; give what it became to trace_stored."""
    return NO_SPANS if traces is None else traces.submitting(tenant, asked)


def trace_stored(spans: Sequence[Submitting], stored: Sequence[Submitted | IdempotencyKeyReused]) -> None:
    """Say which jobs the requests became, in order."""
    if spans:
        job_ids = [one.job_id for one in stored]
        for span in spans:
            span.stored(job_ids)
