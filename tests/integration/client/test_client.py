"""The client's calls, each against the real application."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx2
import pytest

from jobqueue import AsyncClient, NewJob
from jobqueue.client.problems import JobNotSucceeded, WaitTimedOut
from jobqueue.domain.errors import (
    IdempotencyKeyReused,
    InvalidFields,
    NotFinished,
    NotFound,
    ScopeMissing,
    Unauthenticated,
    WrongState,
)
from tests.engine import FAILURE
from tests.integration.api.conftest import Api, make_key


async def test_submit_carries_every_field(api: Api, queue: AsyncClient) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    handle = await queue.submit(
        "resize",
        {"path": "a.png", "größe": 3},
        idempotency_key='a "quoted" \\ key',
        queue="images",
        priority="high",
        max_attempts=5,
        scheduled_at=later,
        timeout=timedelta(minutes=2),
        expires_in=7200,
        concurrency_key="a.png",
        tags=("red", "blue"),
        metadata={"from": "test"},
        correlation_id="c 1",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    job = await handle.get()
    assert (job.payload.job_type, job.payload.data, job.queue, job.priority) == ("resize", {"path": "a.png", "größe": 3}, "images", "high")
    assert (job.max_attempts, job.scheduled_at, job.concurrency_key, job.status) == (5, later, "a.png", "scheduled")
    assert (sorted(job.tags), job.metadata, job.idempotency_key) == (["blue", "red"], {"from": "test"}, 'a "quoted" \\ key')
    assert (job.correlation_id, job.trace_id) == ("c 1", "0af7651916cd43dd8448eb211c80319c")
    row = await api.engine.raw.fetchrow("SELECT timeout_s FROM jobqueue.job WHERE job_id = $1", handle.id)
    assert row["timeout_s"] == 120


async def test_the_same_key_is_the_same_job_and_another_body_is_refused(queue: AsyncClient) -> None:
    first = await queue.submit("t", {"n": 1}, idempotency_key="k")
    again = await queue.submit("t", {"n": 1}, idempotency_key="k")
    assert (first.is_replayed, again.is_replayed, again.id) == (False, True, first.id)
    with pytest.raises(IdempotencyKeyReused) as caught:
        await queue.submit("t", {"n": 2}, idempotency_key="k")
    assert caught.value.job_id == str(first.id)


async def test_result_waits_for_the_end(api: Api, queue: AsyncClient) -> None:
    handle = await queue.submit("t")
    waiting = asyncio.create_task(handle.result(timeout=20))
    await api.engine.settle(await api.engine.claim_one(), result_json='{"n": 1}')
    assert await waiting == {"n": 1}
    assert (await queue.ended(handle.id)).result == {"n": 1}


async def test_result_of_a_job_that_did_not_succeed_is_an_error_that_says_why(api: Api, queue: AsyncClient) -> None:
    handle = await queue.submit("t")
    await api.engine.settle(await api.engine.claim_one(), FAILURE, is_retryable=False)
    with pytest.raises(JobNotSucceeded) as caught:
        await handle.result()
    assert (caught.value.status, caught.value.error) == ("dlq", "Boom: it broke")


async def test_a_wait_ends_after_its_time_and_the_job_goes_on(queue: AsyncClient) -> None:
    handle = await queue.submit("t")
    with pytest.raises(TimeoutError) as caught:
        await handle.wait(timeout=0.2)
    assert isinstance(caught.value, WaitTimedOut)
    assert caught.value.status == "queued"
    with pytest.raises(NotFinished):
        await queue.ended(handle.id)


async def test_submit_may_wait_for_the_end(api: Api, queue: AsyncClient) -> None:
    submitting = asyncio.create_task(queue.submit("t", wait=20))
    leases = []
    async with asyncio.timeout(10):
        while not leases:
            leases = await api.engine.claim()
    await api.engine.settle(leases[0])
    assert (await submitting).job.status == "succeeded"


async def test_cancel_and_retry(queue: AsyncClient) -> None:
    handle = await queue.submit("t")
    assert (await handle.cancel()).status == "cancelled"
    assert (await handle.retry()).status == "queued"
    with pytest.raises(WrongState) as caught:
        await queue.force_success(handle.id)
    assert caught.value.status == "queued"


async def test_patch_and_force_success(api: Api, queue: AsyncClient) -> None:
    handle = await queue.submit("t")
    assert (await queue.patch(handle.id, priority="low", max_attempts=7)).max_attempts == 7
    await api.engine.settle(await api.engine.claim_one(), FAILURE, is_retryable=False)
    assert (await queue.force_success(handle.id, result=[1], reason="by hand")).status == "succeeded"
    assert await handle.result() == [1]
    assert [event.type for event in [event async for event in handle.events()]][-1] == "job.force_succeeded"


async def test_iterate_brings_every_job_of_the_filter_over_all_pages(queue: AsyncClient) -> None:
    ids = [(await queue.submit("t", queue="a" if n % 2 else "b", tags=["x"])).id for n in range(9)]
    found = [job.id async for job in queue.iterate(page_size=2, queue=["a", "b"], tag="x", status="queued")]
    assert found == sorted(ids, reverse=True)
    assert [job.id async for job in queue.iterate(queue="a")] == sorted(ids[1::2], reverse=True)
    assert [job async for job in queue.iterate(created_before=datetime(2020, 1, 1, tzinfo=UTC))] == []


async def test_many_are_cancelled_and_replayed(api: Api, queue: AsyncClient) -> None:
    for n in range(3):
        await queue.submit("t", queue="a" if n else "b")
    assert await queue.cancel_many(queue="a", dry_run=True) == 2
    assert await queue.cancel_many(queue="a") == 2
    await api.engine.settle(await api.engine.claim_one(), FAILURE, is_retryable=False)
    assert await queue.replay_dlq(job_type="other") == 0
    assert await queue.replay_dlq() == 1
    assert (await queue.stats()).by_status["queued"] == 1


async def test_queues_are_listed_paused_and_changed(queue: AsyncClient) -> None:
    await queue.submit("t", queue="a")
    assert [one.name async for one in queue.queues()] == ["a"]
    assert (await queue.pause_queue("a")).paused
    assert not (await queue.resume_queue("a")).paused
    assert (await queue.change_queue("a", max_concurrent=3)).max_concurrent == 3
    assert (await queue.queue("a")).max_concurrent == 3
    assert (await queue.queue_stats("a", "nobody")).queues["nobody"].ready == 0


async def test_refusals_are_errors_of_their_own(api: Api, queue: AsyncClient) -> None:
    with pytest.raises(NotFound):
        await queue.get(uuid4())
    with pytest.raises(NotFound):
        await queue.get("../../etc/passwd?x=#")
    with pytest.raises(InvalidFields) as caught:
        await queue.submit("t", priority="urgent")
    assert caught.value.fields[0][0] == "/priority"
    transport = httpx2.ASGITransport(app=api.app)
    async with AsyncClient("http://api", api_key="jq_nonsense", transport=transport, retry_for=0) as stranger:
        with pytest.raises(Unauthenticated):
            await stranger.me()
    reader = await make_key(api.engine, api.caller, ["jobs:read"])
    async with AsyncClient("http://api", api_key=reader, transport=transport, retry_for=0) as client:
        assert (await client.me()).scopes == ["jobs:read"]
        with pytest.raises(ScopeMissing) as refused:
            await client.submit("t")
    assert refused.value.scope == "jobs:write"


async def test_many_jobs_are_stored_in_batches_and_again_adds_nothing(api: Api, queue: AsyncClient) -> None:
    jobs = [NewJob(job_type="t", data={"n": n}, idempotency_key=f"k-{n}") for n in range(5)]
    told: list[int] = []
    results = await queue.submit_many(jobs, batch_size=2, on_progress=lambda count, _: told.append(count))
    assert ([one.status for one in results], told) == (["created"] * 5, [2, 4, 5])
    again = await queue.submit_many([*jobs, NewJob(job_type="u", idempotency_key="k-0"), NewJob(job_type="t")])
    assert [one.status for one in again] == ["replayed"] * 5 + ["conflict", "created"]
    assert [one.id for one in again[:6]] == [*(one.id for one in results), results[0].id]
    with pytest.raises(InvalidFields) as caught:
        await queue.submit_many([NewJob(job_type="t"), NewJob(job_type="not one")])
    assert caught.value.fields[0][0] == "/jobs/1/payload/job_type"


async def test_any_other_call_is_made_by_its_path(queue: AsyncClient) -> None:
    assert (await queue.call("GET", "/v1/jobs/stats"))["total"] == 0
    with pytest.raises(NotFound):
        await queue.call("GET", "/v1/nothing")
