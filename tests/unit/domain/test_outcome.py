"""How a run ended decides what follows: every kind, at and before every limit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.job import DELAY_S_MAX
from jobqueue.domain.lifecycle import TRANSITIONS, Event, Status
from jobqueue.domain.outcome import SNOOZE_S_DEFAULT, Next, Outcome, OutcomeKind, Standing, decide
from jobqueue.domain.retry import RetryPolicy

POLICY = RetryPolicy(attempts_max=3, crashes_max=2, delay_s_base=10.0, delay_s_max=100.0)
K, S = OutcomeKind, Status


def after(kind: OutcomeKind, *, attempt: int = 1, crashes: int = 0, jitter: float = 0.5, **fields: object) -> Next:
    return decide(Standing(attempt, crashes, POLICY), Outcome(kind, **fields), jitter=jitter)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "fields", "attempt", "crashes", "expected"),
    [
        (K.SUCCEEDED, {}, 3, 1, Next(S.SUCCEEDED, 3, 1)),
        (K.CANCELLED, {}, 2, 0, Next(S.CANCELLED, 2, 0)),
        (K.RELEASED, {}, 1, 1, Next(S.QUEUED, 0, 1)),
        (K.SNOOZED, {"delay_s": 7.0}, 3, 0, Next(S.SCHEDULED, 2, 0, 7.0)),
        (K.SNOOZED, {}, 1, 0, Next(S.SCHEDULED, 0, 0, SNOOZE_S_DEFAULT)),
        (K.FAILED, {}, 2, 0, Next(S.FAILED, 2, 0, 10.0)),
        (K.FAILED, {"delay_s": 3.0}, 2, 0, Next(S.FAILED, 2, 0, 3.0)),
        (K.FAILED, {"delay_s": 0.0}, 1, 0, Next(S.FAILED, 1, 0, 0.0)),
        (K.FAILED, {}, 3, 0, Next(S.DLQ, 3, 0)),
        (K.FAILED, {"delay_s": 3.0}, 3, 0, Next(S.DLQ, 3, 0)),
        (K.FAILED, {"is_retryable": False}, 1, 0, Next(S.DLQ, 1, 0)),
        (K.FAILED, {"is_crash": True}, 1, 0, Next(S.FAILED, 1, 1, 5.0)),
        (K.FAILED, {"is_crash": True}, 1, 1, Next(S.DLQ, 1, 2)),
        (K.FAILED, {"is_crash": True}, 3, 0, Next(S.DLQ, 3, 1)),
        (K.FAILED, {}, 1, 2, Next(S.FAILED, 1, 2, 5.0)),
        (K.LEASE_EXPIRED, {"ran_s": 1.0}, 1, 0, Next(S.QUEUED, 1, 1)),
        (K.LEASE_EXPIRED, {"ran_s": 0.0}, 1, 0, Next(S.QUEUED, 1, 1)),
        (K.LEASE_EXPIRED, {"ran_s": 1.0}, 1, 1, Next(S.DLQ, 1, 2)),
        (K.LEASE_EXPIRED, {"ran_s": 1.0}, 3, 0, Next(S.DLQ, 3, 1)),
        (K.LEASE_EXPIRED, {}, 1, 0, Next(S.QUEUED, 0, 1)),
        (K.LEASE_EXPIRED, {}, 3, 2, Next(S.QUEUED, 2, 2)),
    ],
)
def test_what_follows(kind: OutcomeKind, fields: dict[str, object], attempt: int, crashes: int, expected: Next) -> None:
    assert after(kind, attempt=attempt, crashes=crashes, **fields) == expected


standings = st.builds(
    Standing,
    attempt=st.integers(1, 20),
    crashes=st.integers(0, 5),
    policy=st.builds(
        RetryPolicy,
        attempts_max=st.integers(1, 20),
        crashes_max=st.integers(1, 5),
        delay_s_base=st.floats(0, 1e4),
        delay_s_max=st.floats(0, 1e5),
    ),
)
outcomes = st.builds(
    Outcome,
    kind=st.sampled_from(OutcomeKind),
    is_retryable=st.booleans(),
    is_crash=st.booleans(),
    delay_s=st.none() | st.floats(allow_nan=True, allow_infinity=True),
    ran_s=st.none() | st.floats(0, 1e6),
)


@given(standing=standings, outcome=outcomes, jitter=st.floats(0, 1, exclude_max=True))
def test_what_follows_is_an_edge_and_a_row_the_tables_take(standing: Standing, outcome: Outcome, jitter: float) -> None:
    if standing.attempt > standing.policy.attempts_max:
        standing.attempt = standing.policy.attempts_max
    following = decide(standing, outcome, jitter=jitter)
    assert following.status in TRANSITIONS[Status.RUNNING, Event(outcome.kind.value)]
    assert following.crashes >= standing.crashes
    assert math.isfinite(following.delay_s)
    assert 0 <= following.delay_s <= DELAY_S_MAX
    if following.status in (Status.QUEUED, Status.FAILED, Status.SCHEDULED):
        assert 0 <= following.attempt < standing.policy.attempts_max  # the place tables' CHECK
    else:
        assert following.attempt == standing.attempt


@given(crashes=st.integers(0, 100), attempt=st.integers(1, 100))
def test_losses_before_the_start_alone_never_bury_a_job(crashes: int, attempt: int) -> None:
    standing = Standing(attempt, crashes, RetryPolicy(100, 1, 5.0, 5.0))
    assert decide(standing, Outcome(OutcomeKind.LEASE_EXPIRED), jitter=0).status is Status.QUEUED
