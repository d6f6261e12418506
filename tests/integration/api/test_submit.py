import asyncio
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from jobqueue.domain.job import DATA_BYTES_MAX
from tests.integration.api.conftest import Api, make_key, open_api, read_job

FULL: dict[str, Any] = {
    "queue": "images",
    "priority": "high",
    "max_attempts": 7,
    "timeout_seconds": 60,
    "expires_in_seconds": 3600,
    "concurrency_key": "user-1",
    "tags": ["a", "ü 1"],
    "metadata": {"k": {"n": [1, None, "x"]}},
    "data": {"b": 1.5, "a": ["ü", 2**63], "é": None},
}


async def count_jobs(api: Api) -> int:
    return int(await api.engine.raw.fetchval("SELECT count(*) FROM jobqueue.job"))


@pytest.mark.parametrize("fields", [{}, FULL, {"delay_seconds": 60.5}, {"scheduled_at": "2040-01-01T00:00:00.5+01:00"}], ids=str)
async def test_the_answer_to_a_submit_is_the_job_as_it_is_read_back(api: Api, fields: dict[str, Any]) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    api.client.headers.update({"traceparent": trace, "X-Correlation-Id": "order 17"})
    answer = await api.submit("t.x:y-z", **fields)
    assert answer.status_code == 201
    told = read_job(answer)
    assert answer.headers["location"] == f"/v1/jobs/{told.id}"
    read = await api.job(told.id)
    assert told == read.model_copy(update={"waiting_reason": None})
    assert (told.correlation_id, told.trace_id, told.attempt) == ("order 17", trace[3:35], 0)
    assert told.payload.data == fields.get("data", {})
    assert told.status == ("scheduled" if {"delay_seconds", "scheduled_at"} & set(fields) else "queued")
    assert read.waiting_reason == (None if told.status == "scheduled" else "no_worker")


async def test_a_job_has_the_defaults_of_the_contract(api: Api) -> None:
    job = read_job(await api.client.post("/v1/jobs", json={"payload": {"job_type": "t"}}, headers={"Idempotency-Key": "k"}))
    assert (job.queue, job.priority, job.max_attempts, job.tags, job.metadata, job.payload.data) == ("default", "normal", 3, [], {}, {})
    assert (job.tenant_id, job.idempotency_key, job.job_type) == ("acme", "k", "t")
    assert abs(job.created_at - datetime.now(UTC)) < timedelta(minutes=5)


async def test_without_a_correlation_id_the_request_s_id_serves(api: Api) -> None:
    answer = await api.submit()
    assert answer.json()["correlation_id"] == answer.headers["x-request-id"]


async def test_a_time_in_the_past_is_now(api: Api) -> None:
    job = read_job(await api.submit(scheduled_at="2001-01-01T00:00:00Z"))
    assert (job.status, job.scheduled_at) == ("queued", None)


async def test_the_same_key_and_body_again_is_the_same_job(api: Api) -> None:
    first = await api.submit(key="k", data={"a": 1, "b": 2})
    lease = await api.engine.claim_one()
    again = await api.client.post(
        "/v1/jobs",
        content=b'{"queue": "default", "payload": {"data": {"b": 2, "a": 1}, "job_type": "t"}}',
        headers={"Idempotency-Key": '"k"', "X-Correlation-Id": "another"},
    )
    assert (first.status_code, again.status_code) == (201, 200)
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert again.json()["id"] == first.json()["id"] == str(lease.job_id)
    assert read_job(again).status == "leased"


async def test_the_same_key_and_another_body_is_refused_with_the_job_that_holds_it(api: Api) -> None:
    first = await api.submit(key="k", data={"a": 1})
    other = await api.submit(key="k", data={"a": 2})
    assert (other.status_code, other.json()["code"], other.json()["job_id"]) == (422, "idempotency_key_reused", first.json()["id"])
    assert await count_jobs(api) == 1


async def test_a_key_belongs_to_its_tenant(api: Api) -> None:
    await api.submit(key="k", data={"a": 1})
    other = await api.engine.tenant("other")
    async with api.as_other(await make_key(api.engine, other)) as client:
        answer = await client.post("/v1/jobs", json={"payload": {"job_type": "t"}}, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["tenant_id"]) == (201, "other")


async def test_of_many_at_once_with_one_key_one_makes_the_job(api: Api) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(api.submit(key="k", data={"n": number % 2})) for number in range(24)]
    answers = [task.result() for task in tasks]
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 11, 422: 12}
    assert len({answer.json()["id"] for answer in answers if answer.status_code != 422}) == 1
    assert await count_jobs(api) == 1


async def test_many_at_once_are_each_stored(api: Api) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(api.submit(key=f"k{number}", data={"n": number})) for number in range(100)]
    jobs = [read_job(task.result()) for task in tasks]
    assert [job.payload.data["n"] for job in jobs] == list(range(100))
    assert await count_jobs(api) == len({job.id for job in jobs}) == 100


async def test_a_key_in_an_open_transaction_is_answered_in_progress(api: Api) -> None:
    other = await api.engine.connect()
    await api.submit(key="k", data={"a": 1})
    async with other.transaction():
        await other.execute("DELETE FROM jobqueue.idempotency")
        answer = await api.submit(key="k", data={"a": 1})
    await other.close()
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (409, "submit_in_progress", "1")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "idempotency_key_missing"),
        ({"Idempotency-Key": ""}, "idempotency_key_invalid"),
        ({"Idempotency-Key": "a" * 256}, "idempotency_key_invalid"),
    ],
)
async def test_a_request_without_a_good_key_is_refused(api: Api, headers: dict[str, str], code: str) -> None:
    answer = await api.client.post("/v1/jobs", json={"payload": {"job_type": "t"}}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert await count_jobs(api) == 0


async def test_two_keys_are_refused(api: Api) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await api.client.post("/v1/jobs", json={"payload": {"job_type": "t"}}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid")


@pytest.mark.parametrize(
    ("content", "status", "pointer"),
    [
        (b"", 400, ""),
        (b"\xef\xbb\xbf{}", 400, ""),
        (b"[]", 422, ""),
        (b'{"payload":{"job_type":"t","data":{"a":NaN}}}', 400, "/payload/data/a"),
        (b'{"payload":{"job_type":"t","data":{"a":"\xff"}}}', 400, "/payload/data/a"),
        (b'{"payload":{"job_type":"t","data":{"a":"\\ud800"}}}', 400, "/payload/data/a"),
        (b'{"payload":{"job_type":"t","data":{"a":["\\u0000"]}}}', 422, "/payload/data/a/0"),
        (b'{"payload":{"job_type":"t","data":{"a":1e400}}}', 422, "/payload/data/a"),
        (b'{"payload":{"job_type":"t","data":{"a":18446744073709551616}}}', 422, "/payload/data/a"),
        (b'{"payload":{"job_type":"t","data":{"a":1,"a":1}}}', 422, "/payload/data/a"),
        (b'{"payload":{"job_type":"t"},"payload":{"job_type":"t"}}', 422, "/payload"),
        (b'{"payload":{"job_type":"t","data":' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"}}", 422, "/payload/data" + "/a" * 62),
        (b'{"payload":{"job_type":"t"},"tenant_id":"other"}', 422, "/tenant_id"),
        (b'{"payload":{"job_type":"t","data":{"a":"' + b"x" * DATA_BYTES_MAX + b'"}}}', 422, "/payload/data"),
        (b'{"payload":{"job_type":"t"},"scheduled_at":"+300000-01-01T00:00:00Z"}', 422, "/scheduled_at"),
    ],
)
async def test_a_body_we_cannot_take_is_refused_with_its_place_and_nothing_is_stored(
    api: Api, content: bytes, status: int, pointer: str
) -> None:
    answer = await api.client.post("/v1/jobs", content=content, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (status, pointer)
    assert await count_jobs(api) == 0


HOSTILE = ["'; DROP TABLE jobqueue.job; --", "%s%n", "{0}", "$1", "\\", '"', "\x7f\x01", "‮", "😀", "%00", "$.a", "a\nb"]


async def test_strings_that_mean_something_elsewhere_are_stored_as_they_are(api: Api) -> None:
    for number, text in enumerate(HOSTILE):
        fields = {"tags": [text], "metadata": {text: text}, "concurrency_key": text, "data": {text: text}}
        told = read_job(await api.submit(key=f"k{number}", **fields))
        read = await api.job(told.id)
        assert (read.tags, read.metadata, read.concurrency_key, read.payload.data) == ([text], {text: text}, text, {text: text})
    assert await count_jobs(api) == len(HOSTILE)


async def test_a_full_queue_is_told_when_to_come_back(database: str) -> None:
    async with open_api(database, max_queued=2) as api:
        for _ in range(2):
            assert (await api.submit()).status_code == 201
        answer = await api.submit()
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (429, "queue_full", "1")


async def test_submits_are_counted(api: Api) -> None:
    await api.submit(key="k", priority="low")
    await api.submit(key="k", priority="low")
    text = (await api.client.get("/metrics")).text
    assert re.findall("jobs_submitted_total{.*", text) == ['jobs_submitted_total{priority="low",tenant_id="acme"} 1.0']


async def test_ids_come_from_the_database_in_order(api: Api) -> None:
    ids = [UUID((await api.submit()).json()["id"]) for _ in range(5)]
    assert ids == sorted(ids)
    assert {job_id.version for job_id in ids} == {7}
