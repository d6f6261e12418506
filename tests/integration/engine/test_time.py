"""What time does to waiting jobs: promoted when due, expired when not started in time."""

import asyncio

from jobqueue.domain.lifecycle import Status
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.operations import upkeep
from jobqueue.operations.jobs import Caller
from tests.engine import Engine, request

S = Status


async def test_due_job_is_promoted_and_its_lane_told(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, delay_s=100.0, priority=1)
    assert await engine.promote(after_s=99) == {}
    lanes = await engine.promote(after_s=101)
    row = await engine.row("ready", job_id)
    assert lanes == {(acme.tenant_id, row["queue_id"], row["type_id"], 1): 1}
    assert await engine.history(acme, job_id) == ["submitted", "queued"]
    assert await engine.status(acme, job_id) is S.QUEUED
    assert await engine.promote(after_s=101) == {}
    await engine.check_counts()


async def test_promoted_job_is_as_old_as_its_promotion(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, delay_s=1000.0)
    before = await engine.now()
    await engine.promote()
    assert (await engine.row("ready", job_id))["sort_at"] >= before


async def test_snoozed_job_comes_back_with_its_attempt(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    await engine.settle(await engine.claim_one(), OutcomeKind.SNOOZED, delay_s=100.0)
    assert (await engine.get(acme, job_id)).scheduled_at is not None
    await engine.promote()
    assert (await engine.claim_one()).standing.attempt == 1
    assert await engine.history(acme, job_id) == ["submitted", "leased", "started", "snoozed", "queued"]


async def test_batch_of_promotions_is_bounded_and_the_earliest_first(engine: Engine, acme: Caller) -> None:
    ids = [await engine.submit(acme, delay_s=delay) for delay in (300.0, 100.0, 200.0)]
    now = await engine.later(1000)
    await upkeep.promote(engine.db, limit=2, now=now)
    assert [await engine.status(acme, job_id) for job_id in ids] == [S.SCHEDULED, S.QUEUED, S.QUEUED]


async def test_two_promoters_at_once_move_each_job_once(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request(delay_s=10.0)] * 50)
    now = await engine.later(100)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(upkeep.promote(engine.db, now=now)) for _ in range(4)]
    assert sum(jobs for task in tasks for jobs in task.result().values()) == 50
    await engine.check_counts()


async def test_job_not_started_in_time_expires_wherever_it_waits(engine: Engine, acme: Caller) -> None:
    queued = await engine.submit(acme, expires_in_s=10.0)
    scheduled = await engine.submit(acme, delay_s=5.0, expires_in_s=10.0)
    await engine.submit_all(acme, [request("u", concurrency_key="k", expires_in_s=10.0)] * 2)
    await engine.claim(types=["u"])
    parked = await engine.raw.fetchval("SELECT job_id FROM jobqueue.parked")
    assert await upkeep.expire(engine.db, now=await engine.later(9)) == 0
    assert await upkeep.expire(engine.db, now=await engine.later(20)) == 3
    for job_id in (queued, scheduled, parked):
        job = await engine.get(acme, job_id)
        assert (job.status, job.started_at, job.attempt) == (S.EXPIRED, None, 0)
        assert (await engine.history(acme, job_id))[-1] == "expired"
    await engine.check_counts()


async def test_time_to_start_counts_from_when_a_job_is_due(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, delay_s=100.0, expires_in_s=10.0)
    assert await upkeep.expire(engine.db, now=await engine.later(105)) == 0
    assert await upkeep.expire(engine.db, now=await engine.later(115)) == 1
    assert await engine.status(acme, job_id) is S.EXPIRED


async def test_job_that_started_does_not_expire(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request(expires_in_s=10.0)] * 3)
    held, failed, snoozed = await engine.claim()
    await engine.settle(failed, OutcomeKind.FAILED)
    await engine.settle(snoozed, OutcomeKind.SNOOZED)
    assert await upkeep.expire(engine.db, now=await engine.later(1e6)) == 0
    assert await engine.status(acme, held.job_id) is S.LEASED


async def test_released_before_the_start_still_expires(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme, expires_in_s=10.0)
    await engine.settle(await engine.claim_one(), OutcomeKind.RELEASED, ran_s=None)
    assert await upkeep.expire(engine.db, now=await engine.later(11)) == 1


async def test_promotion_of_an_expired_job_does_not_start_it(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, delay_s=0.001, expires_in_s=0.0)
    await engine.promote()
    assert await engine.claim() == []
    await upkeep.expire(engine.db)
    assert await engine.status(acme, job_id) is S.EXPIRED
    await engine.check_counts()
