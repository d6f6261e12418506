"""The worker reports an Outcome; `decide` is the one place that turns it into the job's next state.

Recovery is a settle by someone else: a lost lease is the Outcome `LEASE_EXPIRED`, reported by the reaper.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from jobqueue.domain.job import DELAY_S_MAX
from jobqueue.domain.lifecycle import Status
from jobqueue.domain.retry import Bury, RetryAfter, RetryPolicy, after_crash, after_failure

SNOOZE_S_DEFAULT: Final = 60.0


class OutcomeKind(StrEnum):
    """How a run ended. The value is also the event's type."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SNOOZED = "snoozed"
    RELEASED = "released"
    CANCELLED = "cancelled"
    LEASE_EXPIRED = "lease_expired"


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, as users see it: `error{type, message, traceback}`."""

    type: str
    message: str
    traceback: str | None = None


@dataclass(slots=True)
class Outcome:
    """How one run ended, as its holder reports it.

    result_json: the result as JSON text, already checked for size and for what the database can store.
    is_retryable: False buries a failure at once. is_crash: the run took its own process with it (isolated runs).
    delay_s: overrides the backoff of a failure, or says how long to snooze. ran_s: since the handler started, None if it never did.
    """

    kind: OutcomeKind
    result_json: str | None = None
    result_ref: str | None = None
    failure: Failure | None = None
    is_retryable: bool = True
    is_crash: bool = False
    delay_s: float | None = None
    ran_s: float | None = None


@dataclass(slots=True)
class Standing:
    """What is fixed for a lease and decides, with the outcome, what follows: the run's number, crashes before it, and the policy."""

    attempt: int
    crashes: int
    policy: RetryPolicy


@dataclass(slots=True)
class Next:
    """Where the job goes. attempt and crashes are what it carries there; delay_s applies to failed and scheduled.

    A lease that was asked to cancel goes to `cancelled` instead, unless `status` is succeeded; only the row knows that.
    """

    status: Status
    attempt: int
    crashes: int
    delay_s: float = 0.0


def decide(standing: Standing, outcome: Outcome, *, jitter: float) -> Next:
    """Turn how a run ended into what follows. jitter is in [0, 1), drawn by the caller."""
    attempt, crashes = standing.attempt, standing.crashes
    assert attempt >= 1
    match outcome.kind:
        case OutcomeKind.SUCCEEDED:
            return Next(Status.SUCCEEDED, attempt, crashes)
        case OutcomeKind.CANCELLED:
            return Next(Status.CANCELLED, attempt, crashes)
        case OutcomeKind.RELEASED:
            return Next(Status.QUEUED, attempt - 1, crashes)
        case OutcomeKind.SNOOZED:
            return Next(Status.SCHEDULED, attempt - 1, crashes, _asked_delay_s(outcome, default=SNOOZE_S_DEFAULT))
        case OutcomeKind.FAILED:
            return _after_failed(standing, outcome, jitter=jitter)
        case OutcomeKind.LEASE_EXPIRED:
            return _after_lost(standing, was_started=outcome.ran_s is not None)


def _after_failed(standing: Standing, outcome: Outcome, *, jitter: float) -> Next:
    attempt = standing.attempt
    crashes = standing.crashes + (1 if outcome.is_crash else 0)
    if not outcome.is_retryable or (outcome.is_crash and crashes >= standing.policy.crashes_max):
        return Next(Status.DLQ, attempt, crashes)
    match after_failure(standing.policy, attempt=attempt, jitter=jitter):
        case Bury():
            return Next(Status.DLQ, attempt, crashes)
        case RetryAfter(delay_s):
            return Next(Status.FAILED, attempt, crashes, _asked_delay_s(outcome, default=delay_s))


def _asked_delay_s(outcome: Outcome, *, default: float) -> float:
    """The delay the handler asked for, within what a row can hold: one that is not would stop its whole batch from settling."""
    asked = default if outcome.delay_s is None else outcome.delay_s
    return min(max(0.0, asked), DELAY_S_MAX)  # not a number: 0


def _after_lost(standing: Standing, *, was_started: bool) -> Next:
    """A run lost after its start is a crash. One lost before it gets its attempt back, but runs isolated next:

    its handler may have started and killed the worker before the first report (docs/adr/0003). Such losses alone never bury a job.
    """
    if not was_started:
        return Next(Status.QUEUED, standing.attempt - 1, max(standing.crashes, 1))
    crashes = standing.crashes + 1
    match after_crash(standing.policy, attempt=standing.attempt, crashes=crashes):
        case Bury():
            return Next(Status.DLQ, standing.attempt, crashes)
        case _:
            return Next(Status.QUEUED, standing.attempt, crashes)
