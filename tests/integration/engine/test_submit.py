"""The way in: stored once per key, each row on its own."""

import asyncio
from datetime import timedelta

import pytest

from jobqueue.domain.errors import IdempotencyKeyReused, InvalidRequest, QueueFull, SubmitInProgress
from jobqueue.domain.lifecycle import Status
from jobqueue.operations.jobs import Caller
from tests.engine import Engine, digest, request, until_somebody_waits
from tests.fake_clock import FakeClock


async def jobs_stored(engine: Engine) -> int:
    return int(await engine.raw.fetchval("SELECT count(*) FROM jobqueue.job"))


async def test_new_job_is_due_with_all_it_was_asked_with(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(
        acme,
        "resize",
        key="k-1",
        data='{"path":"a.png","zero":"\\u0000"}',
        queue="images",
        priority=1,
        max_attempts=7,
        timeout_s=60,
        concurrency_key="a.png",
        tags_json='["x","y"]',
        metadata_json='{"by":"me"}',
        correlation_id="c-1",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    job = await engine.get(acme, job_id)
    assert (job.status, job.attempt, job.max_attempts, job.priority) == (Status.QUEUED, 0, 7, "high")
    assert (job.queue, job.job_type, job.concurrency_key, job.tags) == ("images", "resize", "a.png", ["x", "y"])
    assert (job.idempotency_key, job.correlation_id, job.metadata_json) == ("k-1", "c-1", '{"by":"me"}')
    assert job.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert job.data_json == '{"path":"a.png","zero":"\\u0000"}'
    assert job_id.version == 7
    assert abs(job.created_at - await engine.now()) < timedelta(seconds=10)
    assert await engine.history(acme, job_id) == ["submitted"]
    await engine.check_counts()


async def test_same_key_and_body_is_the_same_job(engine: Engine, acme: Caller) -> None:
    first = await engine.submit_all(acme, [request(key="k")])
    again = await engine.submit_all(acme, [request(key="k")])
    assert first[0].is_new
    assert (again[0].job_id, again[0].is_new) == (first[0].job_id, False)
    assert await jobs_stored(engine) == 1
    await engine.check_counts()


async def test_same_key_of_another_tenant_is_another_job(engine: Engine, acme: Caller) -> None:
    other = await engine.tenant("other")
    assert await engine.submit(acme, key="k") != await engine.submit(other, key="k")


async def test_key_with_another_body_is_refused_and_names_its_holder(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, key="k", data='{"n":1}')
    async with engine.submitter() as submitter:
        with pytest.raises(IdempotencyKeyReused) as caught:
            await submitter.submit(acme.tenant_id, request(key="k", data='{"n":2}'))
    assert caught.value.job_id == str(job_id)
    assert await jobs_stored(engine) == 1


async def test_same_key_twice_in_one_batch_is_stored_once(engine: Engine, acme: Caller) -> None:
    answers = await engine.submit_all(acme, [request(key="k"), request(key="other"), request(key="k")])
    assert answers[0].job_id == answers[2].job_id != answers[1].job_id
    assert sorted(answer.is_new for answer in answers) == [False, True, True]
    assert await jobs_stored(engine) == 2


async def test_jobs_without_a_key_are_all_stored(engine: Engine, acme: Caller) -> None:
    assert len({answer.job_id for answer in await engine.submit_all(acme, [request()] * 20)}) == 20


async def test_concurrent_submits_of_many_keys_store_each_once(engine: Engine, acme: Caller) -> None:
    keys = [f"k-{number % 50}" for number in range(400)]
    async with engine.submitter() as one, engine.submitter() as two, asyncio.TaskGroup() as group:
        tasks = [group.create_task((one, two)[place % 2].submit(acme.tenant_id, request(key=key))) for place, key in enumerate(keys)]
    by_key: dict[str, set[object]] = {}
    for key, task in zip(keys, tasks, strict=True):
        by_key.setdefault(key, set()).add(task.result().job_id)
    assert all(len(found) == 1 for found in by_key.values())
    assert sum(task.result().is_new for task in tasks) == await jobs_stored(engine) == 50
    await engine.check_counts()


async def hold_key(engine: Engine, caller: Caller, key: str) -> object:
    """Hold a key in a transaction that stays open, as a twin under way does."""
    holder = await engine.connect()
    await holder.execute("BEGIN")
    await holder.execute(
        "INSERT INTO jobqueue.idempotency (tenant_id, key_hash, request_hash, job_id) VALUES ($1, $2, $3, gen_random_uuid())",
        caller.tenant_id,
        digest(key),
        digest("t", "{}"),
    )
    return holder


async def test_twin_of_a_held_key_is_in_progress_and_its_neighbours_pass(engine: Engine, acme: Caller) -> None:
    holder = await hold_key(engine, acme, "held")
    async with engine.submitter() as submitter, asyncio.TaskGroup() as group:
        twin = group.create_task(refused(submitter.submit(acme.tenant_id, request(key="held"))))
        neighbours = [group.create_task(submitter.submit(acme.tenant_id, request(key=f"free-{number}"))) for number in range(9)]
    holder.terminate()  # type: ignore[attr-defined]
    assert isinstance(twin.result(), SubmitInProgress)
    assert all(task.result().is_new for task in neighbours)


async def test_neighbours_do_not_wait_for_held_keys_as_long_as_their_twins_do(engine: Engine, acme: Caller) -> None:
    holder = await hold_key(engine, acme, "held")
    pid = holder.get_server_pid()  # type: ignore[attr-defined]
    async with engine.submitter() as submitter, asyncio.TaskGroup() as group:
        twins = [group.create_task(refused(submitter.submit(acme.tenant_id, request(key="held")))) for _ in range(2)]
        neighbours = [group.create_task(submitter.submit(acme.tenant_id, request(key=f"free-{number}"))) for number in range(9)]
        await asyncio.wait(neighbours)
        assert not any(twin.done() for twin in twins)  # they still have most of their second
        await until_somebody_waits(engine.raw, on=pid)
        await holder.execute("ROLLBACK")  # type: ignore[attr-defined]
    holder.terminate()  # type: ignore[attr-defined]
    assert [twin.result() for twin in twins] == [None, None]  # they got the key: one stored, one replayed
    assert await jobs_stored(engine) == 10


async def test_many_twins_of_a_held_key_do_not_use_up_the_pool(engine: Engine, acme: Caller) -> None:
    holder = await hold_key(engine, acme, "held")
    async with engine.submitter() as submitter, asyncio.TaskGroup() as group:
        twins = [group.create_task(refused(submitter.submit(acme.tenant_id, request(key="held")))) for _ in range(20)]
        await asyncio.wait(twins, return_when=asyncio.FIRST_COMPLETED)
        await submitter.submit(acme.tenant_id, request(key="free"))
    holder.terminate()  # type: ignore[attr-defined]
    assert {type(twin.result()) for twin in twins} == {SubmitInProgress}


async def refused(submit: object) -> Exception | None:
    try:
        await submit  # type: ignore[misc]
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize(
    "bad",
    [
        request(data='{"broken":'),
        request(tags_json='["\\u0000"]'),
        request(data='{"lone": "\ud800"}'),
        request(correlation_id="zero \x00"),
        request(delay_s=1e300),
        request(expires_in_s=float("nan")),
    ],
    ids=["not-json", "nul-in-a-tag", "lone-surrogate", "nul-in-text", "endless-delay", "no-number"],
)
async def test_row_the_database_refuses_fails_alone(engine: Engine, acme: Caller, bad: object) -> None:
    async with engine.submitter() as submitter, asyncio.TaskGroup() as group:
        refusal = group.create_task(refused(submitter.submit(acme.tenant_id, bad)))  # type: ignore[arg-type]
        neighbours = [group.create_task(submitter.submit(acme.tenant_id, request())) for _ in range(5)]
    assert isinstance(refusal.result(), InvalidRequest)
    assert all(task.result().is_new for task in neighbours)
    assert await jobs_stored(engine) == 5


async def test_scheduled_job_waits_for_its_time(engine: Engine, acme: Caller) -> None:
    at = (await engine.later(3600)).replace(microsecond=0)
    job_id = await engine.submit(acme, scheduled_at=at)
    job = await engine.get(acme, job_id)
    assert (job.status, job.scheduled_at) == (Status.SCHEDULED, at)
    assert await engine.claim() == []
    assert engine.woken == []
    await engine.check_counts()


async def test_delayed_job_waits_on_the_database_s_clock(engine: Engine, acme: Caller) -> None:
    job = await engine.get(acme, await engine.submit(acme, delay_s=100.0))
    assert job.status is Status.SCHEDULED
    assert job.scheduled_at is not None
    assert timedelta(seconds=99) < job.scheduled_at - job.created_at < timedelta(seconds=101)


async def test_time_in_the_past_is_now_and_wakes(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, scheduled_at=await engine.later(-3600))
    assert await engine.status(acme, job_id) is Status.QUEUED
    assert await engine.submit(acme, delay_s=0.0)
    assert len(engine.woken) == 2
    assert len(await engine.claim()) == 2


async def test_new_due_job_wakes_its_lane(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, priority=0, concurrency_key="k")
    row = await engine.row("ready", job_id)
    assert engine.woken == [(acme.tenant_id, row["queue_id"], row["type_id"], 4)]


async def test_queue_s_own_attempts_come_before_the_default_and_after_the_request_s(engine: Engine, acme: Caller) -> None:
    await engine.queue(acme, max_attempts=9)
    assert (await engine.get(acme, await engine.submit(acme))).max_attempts == 9
    assert (await engine.get(acme, await engine.submit(acme, max_attempts=2))).max_attempts == 2
    assert (await engine.get(acme, await engine.submit(acme, queue="other"))).max_attempts == 3


async def test_full_tenant_is_refused_and_another_one_is_not(engine: Engine, acme: Caller) -> None:
    other = await engine.tenant("other")
    await engine.raw.execute("UPDATE jobqueue.tenant SET max_queued = 3 WHERE tenant_id = $1", acme.tenant_id)
    async with engine.submitter() as submitter:
        answers = [await refused(submitter.submit(acme.tenant_id, request())) for _ in range(5)]
        assert await refused(submitter.submit(other.tenant_id, request())) is None
    assert [type(answer) for answer in answers] == [type(None)] * 3 + [QueueFull] * 2


async def test_full_tenant_still_gets_the_answer_to_a_key_it_used(engine: Engine, acme: Caller) -> None:
    await engine.raw.execute("UPDATE jobqueue.tenant SET max_queued = 1 WHERE tenant_id = $1", acme.tenant_id)
    async with engine.submitter() as submitter:
        first = await submitter.submit(acme.tenant_id, request(key="one"))
        again = await submitter.submit(acme.tenant_id, request(key="one"))
        assert (again.job_id, again.is_new) == (first.job_id, False)
        assert isinstance(await refused(submitter.submit(acme.tenant_id, request(key="one", data='{"other":1}'))), IdempotencyKeyReused)
        assert isinstance(await refused(submitter.submit(acme.tenant_id, request(key="two"))), QueueFull)


async def test_burst_of_first_submits_counts_once_and_stays_within_the_limit(engine: Engine, acme: Caller, clock: FakeClock) -> None:
    engine.clock = clock  # no refresh of the count falls into the burst
    await engine.raw.execute("UPDATE jobqueue.tenant SET max_queued = 100 WHERE tenant_id = $1", acme.tenant_id)
    async with engine.submitter() as submitter, asyncio.TaskGroup() as group:
        tasks = [group.create_task(refused(submitter.submit(acme.tenant_id, request()))) for _ in range(2000)]
    assert {type(task.result()) for task in tasks} == {type(None), QueueFull}
    assert await jobs_stored(engine) == 100


async def test_ids_rise_with_time(engine: Engine, acme: Caller) -> None:
    first = await engine.submit(acme)
    await engine.raw.execute("SELECT pg_sleep(0.005)")  # the clock in an id counts milliseconds
    assert first < await engine.submit(acme)
