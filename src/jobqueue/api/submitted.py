"""Tell what many jobs at once became."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from jobqueue.domain.errors import IdempotencyKeyReused
from jobqueue.domain.job import PRIORITIES, JobRequest, Submitted
from jobqueue.telemetry.events import JobsSubmitted, Telemetry


def tell_submitted(
    telemetry: Telemetry, tenant: str, asked: Sequence[JobRequest], stored: Sequence[Submitted | IdempotencyKeyReused]
) -> None:
    """Count the jobs that are new, by priority."""
    new = Counter(request.priority for request, one in zip(asked, stored, strict=True) if isinstance(one, Submitted) and one.is_new)
    for priority, count in new.items():
        telemetry.emit(JobsSubmitted(tenant, PRIORITIES[priority], count))
