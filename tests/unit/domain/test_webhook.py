"""What an endpoint is told, under which id, and what follows a try."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.feed import FeedEvent
from jobqueue.domain.lifecycle import Event, Status
from jobqueue.domain.webhook import (
    ATTEMPTS_MAX,
    EVENT_TYPES,
    FAILING_S_MAX,
    STEPS_S,
    Answer,
    DeliveryStatus,
    EventFilter,
    body_of,
    clean_excerpt,
    delay_after,
    delivery_id,
    judge,
    read_retry_after,
    seq_of,
)

WEBHOOK = UUID("018f0000-0000-7000-8000-000000000001")
JOB = UUID("018f0000-0000-7000-8000-000000000002")


def event(**fields: Any) -> FeedEvent:
    usual = {
        "cursor": 42, "type": "succeeded", "at": datetime(2030, 1, 2, 3, 4, 5, 678, UTC), "tenant_id": 1, "job_id": JOB,
        "queue": "mails", "job_type": "send", "status": Status.SUCCEEDED, "attempt": 2, "worker_id": "w",
    }  # fmt: skip
    return FeedEvent(**{**usual, **fields})


# --------------------------------------------------------------------------------------------------------------- ids


@given(st.uuids(), st.integers(1, 2**62 - 1))
def test_event_s_number_is_read_back_out_of_a_delivery_s_id(webhook: UUID, seq: int) -> None:
    made = delivery_id(webhook, seq)
    assert made.version == 8
    assert seq_of(webhook, made) == seq


@given(st.uuids(), st.uuids(), st.integers(1, 2**62 - 1))
def test_id_of_another_endpoint_s_delivery_is_none_of_this_one_s(webhook: UUID, other: UUID, seq: int) -> None:
    assert webhook == other or seq_of(other, delivery_id(webhook, seq)) is None


def test_uuid_that_nobody_made_names_no_delivery() -> None:
    assert seq_of(WEBHOOK, uuid4()) is None
    assert seq_of(WEBHOOK, UUID(int=0)) is None


def test_delivery_has_the_same_id_in_every_version_of_the_program() -> None:
    assert delivery_id(WEBHOOK, 42) == UUID("f62b8d1e-eb75-86f4-8000-00000000002a")


# ------------------------------------------------------------------------------------------------------------- filters


def test_empty_filter_wants_everything() -> None:
    assert all(EventFilter().wants(event(type=kind.value)) for kind in Event)
    assert len(EVENT_TYPES) == len(Event)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"event_types": {"job.succeeded", "job.dlq"}}, True),
        ({"event_types": {"job.dlq"}}, False),
        ({"queues": {"mails"}}, True),
        ({"queues": {"other"}}, False),
        ({"job_types": {"send", "x"}}, True),
        ({"job_types": {"x"}}, False),
        ({"event_types": {"job.succeeded"}, "queues": {"mails"}, "job_types": {"send"}}, True),
        ({"event_types": {"job.succeeded"}, "queues": {"mails"}, "job_types": {"x"}}, False),
    ],
)
def test_every_kind_of_filter_has_to_agree(fields: dict[str, set[str]], wanted: bool) -> None:
    assert EventFilter(**{name: frozenset(values) for name, values in fields.items()}).wants(event()) is wanted


# -------------------------------------------------------------------------------------------------------------- bodies


def test_body_has_the_three_members_of_the_standard() -> None:
    told = json.loads(body_of(event(), "acme"))
    assert list(told) == ["type", "timestamp", "data"]
    assert told["type"] == "job.succeeded"
    assert told["timestamp"] == "2030-01-02T03:04:05.000678Z"
    assert told["data"] == {
        "cursor": "42",
        "job": {
            "id": str(JOB), "tenant_id": "acme", "queue": "mails", "job_type": "send", "status": "succeeded", "attempt": 2,
            "worker_id": "w",
        },
    }  # fmt: skip


# -------------------------------------------------------------------------------------------------------- after a try


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_every_answer_of_the_second_hundred_is_a_success(status: int) -> None:
    assert judge(Answer(status), attempt=1, jitter=0.5).status is DeliveryStatus.DELIVERED


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 429, 500, 503, None])
def test_everything_else_is_tried_again(status: int | None) -> None:
    verdict = judge(Answer(status, "no route"), attempt=1, jitter=0.5)
    assert verdict.status is DeliveryStatus.PENDING
    assert verdict.error is not None
    assert not verdict.is_gone


def test_redirect_is_said_to_be_one() -> None:
    assert "redirects are not followed" in str(judge(Answer(302), attempt=1, jitter=0).error)


def test_gone_is_told_at_whichever_try() -> None:
    assert judge(Answer(410), attempt=1, jitter=0).is_gone
    assert judge(Answer(410), attempt=ATTEMPTS_MAX, jitter=0).is_gone


def test_last_try_gives_up() -> None:
    assert judge(Answer(500), attempt=ATTEMPTS_MAX - 1, jitter=0).status is DeliveryStatus.PENDING
    assert judge(Answer(500), attempt=ATTEMPTS_MAX, jitter=0).status is DeliveryStatus.FAILED


def test_tries_span_more_than_two_days_with_the_worst_luck_and_less_than_an_endpoint_may_fail() -> None:
    assert sum(delay_after(attempt, 0.0) for attempt in range(1, ATTEMPTS_MAX)) > 2 * 86_400
    assert sum(STEPS_S) < FAILING_S_MAX


def test_outage_of_an_hour_leaves_tries_over_with_any_luck() -> None:
    waited_s, attempt = 0.0, 1
    while waited_s < 3_600:
        waited_s += delay_after(attempt, 0.0)
        attempt += 1
    assert attempt < ATTEMPTS_MAX


@given(st.integers(1, ATTEMPTS_MAX - 1), st.floats(0, 0.999))
def test_wait_lies_between_its_step_and_the_one_before(attempt: int, jitter: float) -> None:
    assert STEPS_S[attempt - 1] <= delay_after(attempt, jitter) < STEPS_S[attempt]


def test_what_the_receiver_asks_for_is_waited_within_a_day() -> None:
    assert judge(Answer(429, retry_after_s=100), attempt=1, jitter=0).delay_s == 100
    assert judge(Answer(429, retry_after_s=1), attempt=3, jitter=0.5).delay_s == delay_after(3, 0.5)
    assert judge(Answer(429, retry_after_s=1e9), attempt=1, jitter=0).delay_s == 86_400


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120), ("0", 0), ("99999999", 86_400), ("", 0), ("-1", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("1" * 400, 0)],
)
def test_retry_after_is_read_in_seconds_only(value: str, seconds: float) -> None:
    assert read_retry_after(value) == seconds


def test_excerpt_can_be_stored_and_shown_whatever_was_answered() -> None:
    assert (
        clean_excerpt(b"a\x00b\xff\x1b[31m\nline")
        == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[31m\nline"
    )
    assert len(clean_excerpt(b"x" * 10_000)) == 500
