"""How both clients wait for a job's end: request after request, each held by the server for a while."""

from __future__ import annotations

import time
from typing import Final
from uuid import UUID

from jobqueue.client import calls
from jobqueue.client.call import Call
from jobqueue.client.problems import JobNotSucceeded, WaitTimedOut
from jobqueue.client.retries import RetryPlan
from jobqueue.domain.lifecycle import FINAL
from jobqueue.protocol.jobs import Job

PAUSE_S: Final = 1.0
"""Before asking again a server that did not hold the last request: it has too many of them, or is stopping."""


class EndWait:
    """One wait for one job. timeout_s None: for ever, as long as the service answers at all."""

    def __init__(self, job_id: UUID | str, *, timeout_s: float | None, plan: RetryPlan) -> None:
        assert timeout_s is None or timeout_s >= 0
        self._job_id = job_id
        self._timeout_s = timeout_s
        self._ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        self._own_plan = plan
        self._asked_at = 0.0
        self._held_s = 0

    @property
    def left_s(self) -> float | None:
        """How much time is left."""
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    @property
    def plan(self) -> RetryPlan:
        """An outage may take up what is left; without an end, what other calls bear."""
        left_s = self.left_s
        return self._own_plan if left_s is None or self._own_plan.for_s == 0 else RetryPlan(max(left_s, 0.1))

    def next_call(self) -> Call[Job]:
        """Make the next request."""
        left_s = self.left_s
        self._held_s = calls.WAIT_S_MAX if left_s is None else min(calls.WAIT_S_MAX, int(left_s))
        self._asked_at = time.monotonic()
        return calls.get(self._job_id, wait_s=self._held_s)

    def pause_s(self, job: Job) -> float | None:
        """Say how long to pause before the next request; None: the job has ended. Raises WaitTimedOut."""
        if job.status in FINAL:
            return None
        left_s = self.left_s
        if left_s == 0.0 and self._timeout_s is not None:
            raise WaitTimedOut(job.id, timeout_s=self._timeout_s, status=job.status)
        was_held = self._held_s > 0 and time.monotonic() - self._asked_at >= self._held_s / 2
        pause_s = 0.0 if was_held else PAUSE_S
        return pause_s if left_s is None else min(pause_s, left_s)


def check_succeeded(job: Job) -> None:
    """Raise JobNotSucceeded for a job that ended otherwise."""
    if job.status != "succeeded":
        error = None if job.error is None else f"{job.error.type}: {job.error.message}"
        raise JobNotSucceeded(job.id, status=job.status, error=error)
