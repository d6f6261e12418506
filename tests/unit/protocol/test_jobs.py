from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from jobqueue.domain import job as bounds
from jobqueue.domain.errors import InvalidFields
from jobqueue.domain.lifecycle import Status
from jobqueue.protocol import jobs, wire
from jobqueue.protocol.jobs import JobRequest


def request(**fields: Any) -> dict[str, Any]:
    return {"payload": {"job_type": "echo"}, **fields}


GOOD: dict[str, Any] = {
    "max_attempts": [1, bounds.ATTEMPTS_MAX, None],
    "priority": list(bounds.PRIORITIES),
    "queue": ["a", "A.b_c-9", "q" * 100],
    "scheduled_at": ["2030-01-31T12:00:00Z", "2030-01-31t12:00:00.123+05:30", "1970-01-01T00:00:00Z", None],
    "delay_seconds": [0, 0.5, bounds.DELAY_S_MAX, None],
    "timeout_seconds": [1, bounds.TIMEOUT_S_MAX, None],
    "expires_in_seconds": [0.001, 60, None],
    "concurrency_key": ["k", "ключ " * 50, None],
    "tags": [[], ["a"], ["x" * bounds.TAG_CHARACTERS_MAX] * bounds.TAGS_MAX],
    "metadata": [{}, {"a": {"b": [1, None]}}],
}
BAD: dict[str, Any] = {
    "max_attempts": [0, -1, bounds.ATTEMPTS_MAX + 1, "3", 1.5, True, 2**63],
    "priority": ["urgent", "", 2, None],
    "queue": ["", "a b", "q" * 101, "a/b", "a\n", "ä", 7, None],
    "scheduled_at": ["tomorrow", "2030-01-31", "2030-01-31T12:00:00", "2030-02-31T12:00:00Z", "0001-01-01T00:00:00+14:00", 1893456000],
    "delay_seconds": [-1, bounds.DELAY_S_MAX + 1, "5", True],
    "timeout_seconds": [0, -1, bounds.TIMEOUT_S_MAX + 1, 0.5, "5"],
    "expires_in_seconds": [0, -1, 1e300],
    "concurrency_key": ["", "k" * 256, 5],
    "tags": ["a", [""], [1], ["x" * (bounds.TAG_CHARACTERS_MAX + 1)], ["a"] * (bounds.TAGS_MAX + 1), None],
    "metadata": [[], "x", None],
    "payload": [
        None,
        [],
        {},
        {"job_type": ""},
        {"job_type": "a b"},
        {"job_type": "x" * 101},
        {"job_type": "a", "data": []},
        {"job_type": "a", "x": 1},
    ],
    "idempotency_key": ["a"],
    "tenant_id": ["demo"],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in GOOD.items() for value in values])
def test_a_field_within_its_bounds_is_taken(field: str, value: Any) -> None:
    assert wire.read(JobRequest, request(**{field: value}))


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in BAD.items() for value in values])
def test_a_field_beyond_its_bounds_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidFields) as caught:
        wire.read(JobRequest, request(**{field: value}))
    assert all(pointer.startswith(f"/{field}") for pointer, _ in caught.value.fields)


def test_only_the_job_type_is_needed() -> None:
    job = wire.read(JobRequest, request())
    assert (job.queue, job.priority, job.payload.data, job.tags, job.metadata) == ("default", "normal", {}, [], {})
    assert {job.max_attempts, job.scheduled_at, job.delay_seconds, job.timeout_seconds, job.expires_in_seconds, job.concurrency_key} == {
        None
    }


def test_two_times_are_refused() -> None:
    with pytest.raises(InvalidFields) as caught:
        wire.read(JobRequest, request(scheduled_at="2030-01-31T12:00:00Z", delay_seconds=1))
    assert caught.value.fields == [("/delay_seconds", jobs.TWO_TIMES)]


def test_a_time_is_read_as_utc() -> None:
    job = wire.read(JobRequest, request(scheduled_at="2030-01-31T12:00:00+02:00"))
    assert job.scheduled_at == datetime(2030, 1, 31, 10, tzinfo=UTC)


def test_every_fault_is_named_and_no_value_is_repeated() -> None:
    with pytest.raises(InvalidFields) as caught:
        wire.read(JobRequest, {"payload": {"job_type": "a", "a/b~c": 1}, "queue": "hush hush", "nope": 1})
    assert {pointer for pointer, _ in caught.value.fields} == {"/payload/a~1b~0c", "/queue", "/nope"}
    assert "hush" not in str(caught.value)


def test_the_statuses_on_the_line_are_those_of_the_lifecycle() -> None:
    assert set(get_args(jobs.Status)) == set(Status)
    assert get_args(jobs.Priority) == bounds.PRIORITIES
