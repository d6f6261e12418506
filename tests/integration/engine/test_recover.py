"""Lost leases come back: settled by someone else, after the same rules."""

import asyncio

from jobqueue.domain.lifecycle import Status
from jobqueue.operations import jobs, upkeep
from jobqueue.operations.jobs import Caller
from jobqueue.store.upkeep import clock_s
from tests.engine import TERMS, UP_S, Engine, request

S = Status


async def test_loss_before_the_start_is_refunded_and_the_next_run_isolated(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    await engine.claim_one()
    (recovered,) = await engine.recover()
    assert (recovered.job_id, recovered.status, recovered.attempt, recovered.is_overdue) == (job_id, "queued", 1, False)
    assert (await engine.get(acme, job_id)).attempt == 0
    assert await engine.history(acme, job_id) == ["submitted", "leased", "lease_expired", "queued"]
    await engine.check_counts()
    again = await engine.claim_one()
    assert (again.standing.attempt, again.standing.crashes, again.is_isolated) == (1, 1, True)


async def test_losses_before_the_start_never_bury_a_job(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, max_attempts=1)
    for _ in range(6):
        await engine.claim_one()
        await engine.recover()
    assert await engine.status(acme, job_id) is S.QUEUED
    assert (await engine.claim_one()).standing.crashes == 1


async def test_loss_after_the_start_is_counted_and_keeps_its_error(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    await engine.start(await engine.claim_one())
    await engine.recover()
    job = await engine.get(acme, job_id)
    assert (job.status, job.attempt) == (S.QUEUED, 1)
    assert "LeaseExpired" in (job.error_json or "")
    assert await engine.history(acme, job_id) == ["submitted", "leased", "started", "lease_expired", "queued"]
    again = await engine.claim_one()
    assert (again.standing.attempt, again.standing.crashes) == (2, 1)
    await engine.check_counts()


async def test_crashes_are_used_up(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, max_attempts=10)
    for _ in range(TERMS.crashes_max):
        await engine.start(await engine.claim_one())
        (recovered,) = await engine.recover()
    assert recovered.status == "dlq"
    assert await engine.status(acme, job_id) is S.DLQ
    assert (await engine.history(acme, job_id))[-2:] == ["lease_expired", "dlq"]
    await engine.check_counts()


async def test_attempts_are_used_up(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, max_attempts=1)
    await engine.start(await engine.claim_one())
    assert [one.status for one in await engine.recover()] == ["dlq"]
    assert (await engine.get(acme, job_id)).attempt == 1


async def test_renewed_lease_is_left(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request()] * 2)
    one, _ = await engine.claim()
    await engine.raw.execute("UPDATE jobqueue.lease SET lease_s = $1, expires_at = '-infinity'", TERMS.lease_s)
    await engine.beat(one)
    assert one.job_id not in {lost.job_id for lost in await engine.recover(after_s=0.0)}


async def test_nothing_is_taken_before_its_own_length_has_passed_since_the_reaper_came_up(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme)
    await engine.claim_one()
    assert await engine.recover(up_s=TERMS.lease_s - 0.01) == []
    assert len(await engine.recover(up_s=TERMS.lease_s)) == 1


async def test_nothing_is_taken_before_its_own_length_has_passed_since_the_server_came_up(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme)
    await engine.claim_one()
    await engine.raw.execute("UPDATE jobqueue.lease SET lease_s = 1e9, expires_at = '-infinity'")
    assert await engine.recover(up_s=1e12) == []


async def test_short_leases_do_not_wait_for_long_ones(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request()] * 2)
    short, long = await engine.claim()
    await engine.raw.execute("UPDATE jobqueue.lease SET lease_s = 1e9 WHERE job_id = $1", long.job_id)
    assert [one.job_id for one in await engine.recover()] == [short.job_id]


async def test_living_holder_past_its_deadline_is_overdue_and_counted(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, timeout_s=1)
    await engine.start(await engine.claim_one())
    await engine.raw.execute("UPDATE jobqueue.lease SET expires_at = 'infinity', deadline_at = '-infinity'")
    (recovered,) = await engine.recover(after_s=0.0)
    assert recovered.is_overdue
    assert "deadline" in ((await engine.get(acme, job_id)).error_json or "")


async def test_cancelled_job_is_fenced_off_after_the_grace_and_ends_cancelled(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    await engine.start(lease)
    await engine.raw.execute("UPDATE jobqueue.lease SET expires_at = 'infinity'")
    await jobs.cancel(engine.db, acme, job_id, grace_s=10)
    assert await engine.recover(after_s=5) == []
    (recovered,) = await engine.recover(after_s=15)
    assert recovered.status == "cancelled"
    assert await engine.status(acme, job_id) is S.CANCELLED
    assert (await engine.history(acme, job_id))[-3:] == ["cancel_requested", "lease_expired", "cancelled"]
    await engine.check_counts()


async def test_two_recoverers_at_once_take_each_lease_once(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request(concurrency_key=f"k-{number}" if number % 2 else None) for number in range(60)])
    assert len(await engine.claim()) == 60
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(engine.recover()) for _ in range(4)]
    found = [one.job_id for task in tasks for one in task.result()]
    assert len(found) == len(set(found)) == 60
    await engine.check_counts()


async def test_batch_is_bounded_and_the_rest_follows(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request()] * 7)
    await engine.claim()
    assert [len(await engine.recover(limit=3)) for _ in range(4)] == [3, 3, 1, 0]


async def test_recovered_key_lets_the_next_one_in(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request(concurrency_key="k")] * 2)
    await engine.claim_one()
    await engine.recover()
    assert len(await engine.claim()) == 1
    await engine.check_counts()


async def test_lost_lease_goes_back_to_its_old_place(engine: Engine, acme: Caller) -> None:
    first = await engine.submit(acme)
    claimer = await engine.claimer()
    (lease,) = await claimer.claim(jobs_max=1)
    await engine.submit_all(acme, [request()] * 3)
    before = (await engine.row("lease", first))["sort_at"]
    await engine.recover()
    row = await engine.row("ready", first)
    assert (row["sort_at"], row["band"] & 8) == (before, 8)
    assert (await engine.claim(1))[0].job_id == lease.job_id


async def test_lease_far_ahead_of_a_stepped_clock_is_brought_back(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    await engine.claim_one()
    await engine.raw.execute("UPDATE jobqueue.lease SET expires_at = clock_timestamp() + interval '1 hour'")
    assert await upkeep.clamp_leases(engine.db) == 1
    assert (await engine.row("lease", job_id))["expires_at"].timestamp() <= await clock_s(engine.db) + TERMS.lease_s
    assert await upkeep.clamp_leases(engine.db) == 0


async def test_job_that_never_started_keeps_its_expiry_and_one_that_did_has_none(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, expires_in_s=3600.0)
    await engine.claim_one()
    await engine.recover(up_s=UP_S)
    assert (await engine.row("ready", job_id))["start_by"] is not None
    await engine.start(await engine.claim_one())
    await engine.recover(up_s=UP_S)
    assert (await engine.row("ready", job_id))["start_by"] is None
