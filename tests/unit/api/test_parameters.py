import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from jobqueue.api.filters import to_dlq, to_domain
from jobqueue.api.parameters import NO_IDS, WAIT_S_MAX, read_cursor, read_name_cursor, write_cursor, write_name_cursor
from jobqueue.api.prefer import read_wait
from jobqueue.domain.errors import CursorInvalid, InvalidFields
from jobqueue.domain.job_filter import JobFilter
from jobqueue.domain.lifecycle import Status
from jobqueue.protocol import wire
from jobqueue.protocol.filters import CancelRequest, JobsFilter, ReplayRequest
from tests.unit.api.application import client_of, make_app

SOME = JobFilter(statuses=(Status.DLQ,), queues=("a",))


def request(*values: str) -> Request:
    return Request({"type": "http", "headers": [(b"prefer", value.encode("latin-1")) for value in values]})


@pytest.mark.parametrize(
    ("values", "wait_s"),
    [
        ((), None),
        (("wait=5",), 5),
        (("respond-async, wait=7",), 7),
        (("WAIT = 7; foo=bar",), 7),
        (('wait="8"',), 8),
        (("respond-async", "wait=9"), 9),
        (("wait=1, wait=2",), 1),
        (("wait=0",), 0),
        (("wait=31",), WAIT_S_MAX),
        (("wait=999999999",), WAIT_S_MAX),
        (("wait=-1",), None),
        (("wait=1.5",), None),
        (("wait",), None),
        (("wait=inf",), None),
        (("wait=" + "9" * 5000,), None),
        (("waits=3",), None),
        (('wait="3',), None),
        (("\xe4=1",), None),
    ],
)
def test_prefer_wait_is_read_and_the_rest_ignored(values: tuple[str, ...], wait_s: int | None) -> None:
    assert read_wait(request(*values)) == wait_s


@given(st.uuids())
def test_a_cursor_is_read_back_under_the_same_filter_only(job_id: UUID) -> None:
    cursor = write_cursor(job_id, SOME)
    assert read_cursor(cursor, SOME) == job_id
    for other in (JobFilter(), JobFilter(statuses=(Status.DLQ,)), JobFilter(statuses=(Status.DLQ,), queues=("b",))):
        with pytest.raises(CursorInvalid):
            read_cursor(cursor, other)


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda raw: write_name_cursor("a") + raw.hex()))
def test_any_other_text_is_no_cursor(text: str) -> None:
    with pytest.raises(CursorInvalid):
        read_cursor(text, SOME)


def test_a_cursor_by_name_is_read_back() -> None:
    assert read_name_cursor(write_name_cursor("a.b-C_1")) == "a.b-C_1"
    for text in ("", "é", "====", "a", write_name_cursor("a")[:-1] + "!", write_name_cursor("a b"), "x" * 5000):
        with pytest.raises(CursorInvalid):
            read_name_cursor(text)


def test_equal_filters_are_equal_however_they_are_said() -> None:
    one = wire.read(JobsFilter, {"status": ["dlq", "failed", "dlq"], "queue": "a", "created_after": "2030-01-01T01:00:00+01:00"})
    two = wire.read(JobsFilter, {"queue": ["a"], "status": ["failed", "dlq"], "created_after": "2030-01-01T00:00:00Z"})
    assert to_domain(one) == to_domain(two)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2030-01-01T00:00:00.0001Z", datetime(2030, 1, 1, microsecond=1000, tzinfo=UTC)),
        ("2030-01-01T00:00:00.001Z", datetime(2030, 1, 1, microsecond=1000, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.9999Z", datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
    ],
)
def test_bounds_are_whole_milliseconds_as_ids_are(said: str, meant: datetime) -> None:
    asked = wire.read(JobsFilter, {"created_after": said, "created_before": said})
    assert to_domain(asked).created_after == to_domain(asked).created_before == meant
    assert meant.microsecond % 1000 == 0
    assert meant - datetime(1970, 1, 1, tzinfo=UTC) < timedelta(milliseconds=2**48)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/filter"),
        ({"filter": []}, "/filter"),
        ({"filter": {"status": "done"}}, "/filter/status"),
        ({"filter": {"status": ["dlq", "done"]}}, "/filter/status/1"),
        ({"filter": {"queue": "a/b"}}, "/filter/queue"),
        ({"filter": {"queue": None}}, "/filter/queue"),
        ({"filter": {"tag": [""]}}, "/filter/tag/0"),
        ({"filter": {"tag": "a\x00b"}}, "/filter/tag"),
        ({"filter": {"priority": 1}}, "/filter/priority"),
        ({"filter": {"tag": ["a"] * 51}}, "/filter/tag"),
        ({"filter": {"created_after": "yesterday"}}, "/filter/created_after"),
        ({"filter": {"page": 1}}, "/filter/page"),
        ({"filter": {}, "limit": 0}, "/limit"),
        ({"filter": {}, "limit": 10_001}, "/limit"),
        ({"filter": {}, "limit": True}, "/limit"),
        ({"filter": {}, "dry_run": "yes"}, "/dry_run"),
        ({"filter": {}, "dryrun": True}, "/dryrun"),
    ],
)
def test_a_wrong_bulk_request_is_refused_with_its_place(body: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        wire.read(CancelRequest, body)
    assert [field for field, _ in caught.value.fields] == [pointer]


@pytest.mark.parametrize("status", ["dlq", ["dlq"], []])
def test_a_replay_is_about_dlq_jobs(status: Any) -> None:
    asked = wire.read(ReplayRequest, {"filter": {"status": status, "queue": ["a"]}})
    assert to_dlq(asked.filter) == SOME


@pytest.mark.parametrize("status", ["failed", ["dlq", "failed"]])
def test_a_replay_of_another_status_is_refused(status: Any) -> None:
    with pytest.raises(InvalidFields) as caught:
        wire.read(ReplayRequest, {"filter": {"status": status}})
    assert caught.value.fields[0][0].startswith("/filter/status")


def test_what_is_no_id_are_the_calls_beside_the_template() -> None:
    beside = {route.path.removeprefix("/v1/jobs/") for route in make_app().router.routes if re.fullmatch("/v1/jobs/[a-z]+", route.path)}
    assert beside == NO_IDS


@pytest.mark.parametrize(("path", "allow"), [("/v1/jobs/stats", "GET"), ("/v1/jobs/cancel", "POST")])
async def test_a_call_beside_the_template_names_its_own_methods(path: str, allow: str) -> None:
    async with client_of(make_app()) as client:
        for method in ("DELETE", "PATCH", "PUT", "OPTIONS"):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.headers["allow"], answer.json()["code"]) == (405, allow, "method_not_allowed")
