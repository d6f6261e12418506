"""POST /v1/jobs/batch: checked whole first, stored in one transaction, answered in order."""

import asyncio
from collections import Counter
from typing import Any

import httpx2
import pytest

from jobqueue.api.routes.batches import BATCH_BYTES_MAX
from jobqueue.domain.job import DATA_BYTES_MAX
from tests.integration.api.conftest import Api, make_key, open_api


def one(key: str, data: Any = None, **fields: Any) -> dict[str, Any]:
    payload = {"job_type": fields.pop("job_type", "t"), "data": {} if data is None else data}
    return {"idempotency_key": key, "payload": payload, **fields}


async def post(api: Api, jobs: list[dict[str, Any]]) -> httpx2.Response:
    return await api.client.post("/v1/jobs/batch", json={"jobs": jobs})


async def results(api: Api, jobs: list[dict[str, Any]]) -> list[tuple[str, str]]:
    answer = await post(api, jobs)
    assert answer.status_code == 200, answer.text
    return [(result["status"], result["id"]) for result in answer.json()["results"]]


async def count(api: Api, table: str = "job") -> int:
    return int(await api.engine.raw.fetchval(f"SELECT count(*) FROM jobqueue.{table}"))


def pointers(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [fault["pointer"] for fault in answer.json()["errors"]]


async def test_a_thousand_jobs_are_stored_and_answered_in_order(api: Api) -> None:
    stored = await results(api, [one(f"k{number}", {"n": number}, queue=f"q{number % 3}") for number in range(1000)])
    assert Counter(status for status, _ in stored) == {"created": 1000}
    read = await api.job(stored[617][1])
    assert (read.payload.data, read.queue, read.idempotency_key, read.status) == ({"n": 617}, "q2", "k617", "queued")
    assert await count(api) == await count(api, "ready") == await count(api, "event") == 1000
    await api.engine.check_counts()


async def test_every_field_of_a_job_is_taken(api: Api) -> None:
    fields: dict[str, Any] = {
        "queue": "images",
        "priority": "high",
        "max_attempts": 7,
        "timeout_seconds": 60,
        "expires_in_seconds": 3600,
        "concurrency_key": "user-1",
        "tags": ["a"],
        "metadata": {"k": [1]},
        "delay_seconds": 60.5,
    }
    ((_, job_id),) = await results(api, [one("k", {"a": 1}, **fields)])
    alone = await api.submit("t", key="alone", data={"a": 1}, **fields)
    read, like = await api.job(job_id), await api.job(alone.json()["id"])
    own = {"id", "idempotency_key", "created_at", "scheduled_at", "correlation_id"}
    assert read.model_dump(exclude=own) == like.model_dump(exclude=own)
    assert read.idempotency_key == "k"


async def test_the_same_batch_again_is_replayed_and_another_body_is_a_conflict(api: Api) -> None:
    first = await results(api, [one("a", {"n": 1}), one("b", {"n": 2})])
    again = await results(api, [one("b", {"n": 2}), one("a", {"n": 9}), one("c", {"n": 3})])
    assert [status for status, _ in again] == ["replayed", "conflict", "created"]
    assert [job_id for _, job_id in again[:2]] == [first[1][1], first[0][1]]
    assert await count(api) == 3


async def test_a_batch_and_a_single_submit_share_their_keys(api: Api) -> None:
    single = (await api.submit(key="k", data={"n": 1})).json()["id"]
    ((status, job_id),) = await results(api, [one("k", {"n": 1})])
    assert (status, job_id) == ("replayed", single)
    ((_, batched),) = await results(api, [one("l", {"n": 1})])
    answer = await api.submit(key="l", data={"n": 1})
    assert (answer.status_code, answer.json()["id"]) == (200, batched)


async def test_of_several_jobs_with_one_key_the_first_counts(api: Api) -> None:
    stored = await results(api, [one("k", {"n": 1}), one("k", {"n": 2}), one("k", {"n": 1}), one("l")])
    assert [status for status, _ in stored] == ["created", "conflict", "replayed", "created"]
    assert len({job_id for _, job_id in stored[:3]}) == 1
    assert (await api.job(stored[0][1])).payload.data == {"n": 1}
    again = await results(api, [one("k", {"n": 2}), one("k", {"n": 1})])
    assert [status for status, _ in again] == ["conflict", "replayed"]


async def test_one_job_that_is_not_valid_leaves_nothing_stored_and_every_fault_is_named(api: Api) -> None:
    bad = [
        one("a"),
        {"payload": {"job_type": "t"}},
        one("ü"),
        one("d", job_type="no spaces"),
        one("e", surprise=1),
        one("f", delay_seconds=1, scheduled_at="2040-01-01T00:00:00Z"),
        one("g", []),
    ]
    answer = await post(api, bad)
    assert pointers(answer) == [
        "/jobs/1/idempotency_key",
        "/jobs/2/idempotency_key",
        "/jobs/3/payload/job_type",
        "/jobs/4/surprise",
        "/jobs/5/delay_seconds",
        "/jobs/6/payload/data",
    ]
    assert await count(api) == await count(api, "idempotency") == 0


async def test_data_beyond_its_bound_is_named_with_its_place(api: Api) -> None:
    answer = await post(api, [one("a"), one("b", {"x": "y" * DATA_BYTES_MAX})])
    assert pointers(answer) == ["/jobs/1/payload/data"]
    assert await count(api) == 0


@pytest.mark.parametrize("jobs", [[], [one(str(number)) for number in range(1001)]], ids=["none", "1001"])
async def test_none_and_too_many_jobs_are_refused(api: Api, jobs: list[dict[str, Any]]) -> None:
    assert pointers(await post(api, jobs)) == ["/jobs"]
    assert await count(api) == 0


async def test_a_body_of_many_megabytes_is_taken_and_one_beyond_the_bound_is_not(api: Api) -> None:
    large = {"x": "y" * (DATA_BYTES_MAX - 100)}
    stored = await results(api, [one(str(number), large) for number in range(60)])
    assert len(stored) == 60
    answer = await api.client.post("/v1/jobs/batch", content=b" " * (BATCH_BYTES_MAX + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_full_queue_takes_no_batch_but_answers_what_it_has(database: str) -> None:
    async with open_api(database, max_queued=3) as api:
        first = await results(api, [one("a"), one("b")])
        refused = await post(api, [one("c"), one("d")])
        assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (429, "queue_full", "1")
        mixed = await results(api, [one("a"), one("b"), one("c")])
        assert [status for status, _ in mixed] == ["replayed", "replayed", "created"]
        again = await results(api, [one("a"), one("b"), one("c")])
        assert [job_id for _, job_id in again[:2]] == [job_id for _, job_id in first]
        assert await count(api) == 3


async def test_a_key_in_an_open_transaction_makes_the_batch_wait_and_then_a_conflict_in_progress(api: Api) -> None:
    await results(api, [one("k")])
    other = await api.engine.connect()
    async with other.transaction():
        await other.execute("DELETE FROM jobqueue.idempotency")
        answer = await post(api, [one("a"), one("k")])
    await other.close()
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (409, "submit_in_progress", "1")
    assert await count(api) == 1


async def test_batches_at_once_with_the_same_keys_make_each_job_once(api: Api) -> None:
    async with asyncio.TaskGroup() as group:
        jobs = [one(f"k{number}") for number in range(50)]
        tasks = [group.create_task(results(api, order)) for order in (jobs, jobs[::-1]) * 4]
    assert sum(status == "created" for task in tasks for status, _ in task.result()) == 50
    assert await count(api) == 50
    await api.engine.check_counts()


async def test_jobs_of_a_batch_belong_to_the_caller_s_tenant(api: Api) -> None:
    other = await api.engine.tenant("other")
    async with api.as_other(await make_key(api.engine, other)) as client:
        await client.post("/v1/jobs/batch", json={"jobs": [one("k")]})
    ((status, job_id),) = await results(api, [one("k")])
    assert status == "created"
    assert (await api.job(job_id)).tenant_id == "acme"


async def test_a_batch_needs_the_scope_to_write(api: Api) -> None:
    async with api.as_other(await make_key(api.engine, api.caller, ["jobs:read"])) as client:
        answer = await client.post("/v1/jobs/batch", json={"jobs": [one("k")]})
    assert (answer.status_code, answer.json()["scope"]) == (403, "jobs:write")


async def test_claimers_are_told_each_lane_once(api: Api) -> None:
    await results(api, [one(str(number), queue=f"q{number % 2}") for number in range(100)])
    assert len(api.engine.woken) == 2
