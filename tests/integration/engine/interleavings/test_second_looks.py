"""Meetings of more than two steps: what a transition saw before it waited is not true any more, or there is more to see after."""

import asyncio

import pytest

from jobqueue.domain.errors import JobQueueError, NotFound
from jobqueue.domain.lease import BeatStatus, Lease, SettleStatus
from jobqueue.domain.lifecycle import Status
from jobqueue.operations import jobs, leases
from jobqueue.operations.jobs import Caller
from jobqueue.store.pool import Database
from tests.engine import UP_S, Engine, digest, outcome, request, settlement, until_somebody_waits
from tests.integration.engine.interleavings.steps import caught, first

S = Status


async def claim_on(engine: Engine, db: Database) -> list[Lease]:
    claimer = await engine.claimer()
    claimer._db = db
    return await claimer.claim(jobs_max=10)


async def recover_on(engine: Engine, db: Database) -> list[leases.Recovered]:
    return await leases.recover(db, engine.terms, resumed_for_s=UP_S, now=await engine.later(1e5))


async def test_claim_then_cancel_asks_the_new_holder(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    async with first(engine) as claiming:
        (lease,) = await claim_on(engine, claiming.db)
        assert await claiming.meet(lambda: jobs.cancel(engine.db, acme, job_id, grace_s=30), waits=True) is S.LEASED
    assert await engine.beat(lease) is BeatStatus.CANCEL_REQUESTED
    await engine.check_counts()


async def test_recover_then_heartbeat_is_busy_and_then_lost(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme)
    lease = await engine.claim_one()
    async with first(engine) as recovering:
        await recover_on(engine, recovering.db)
        assert await recovering.meet(lambda: engine.beat(lease), waits=False) is BeatStatus.BUSY
    assert await engine.beat(lease) is BeatStatus.LOST


async def test_lease_renewed_between_look_and_lock_is_left(engine: Engine, acme: Caller) -> None:
    """The row lock re-checks: a recovery that had seen the lease as over finds it renewed."""
    await engine.submit(acme, concurrency_key="k")
    lease = await engine.claim_one()
    await engine.raw.execute("UPDATE jobqueue.lease SET expires_at = '-infinity', deadline_at = 'infinity'")
    async with first(engine) as holding:  # the key's gate holds recovery up after its first look
        await holding.connection.execute("SELECT FROM jobqueue.concurrency_key FOR NO KEY UPDATE")
        task = asyncio.create_task(engine.recover(after_s=0.0))
        await until_somebody_waits(engine.raw, on=holding.pid)
        assert await engine.beat(lease) is BeatStatus.OK
        await holding.end(commits=False)
        assert await task == []


@pytest.mark.parametrize("is_reset", [True, False])
async def test_settle_then_retry_that_saw_it_running(engine: Engine, acme: Caller, is_reset: bool) -> None:
    """The retry begins while the job runs and gets its lock when it has succeeded: it must not be told that attempts are used up."""
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    async with first(engine) as holding:
        await holding.connection.execute("SELECT FROM jobqueue.job FOR NO KEY UPDATE")
        task = asyncio.create_task(caught(lambda: jobs.retry(engine.db, acme, job_id, is_reset=is_reset)))
        await until_somebody_waits(engine.raw, on=holding.pid)
        await engine.settle(lease)
        await holding.end(commits=False)
        assert not isinstance(await task, JobQueueError)
    assert await engine.status(acme, job_id) is S.QUEUED
    await engine.check_counts()


async def test_recover_then_recover_passes_the_lease_by(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request()] * 2)
    await engine.claim()
    async with first(engine) as recovering:
        await recover_on(engine, recovering.db)
        assert await recovering.meet(engine.recover, waits=False) == []
    assert await engine.raw.fetchval("SELECT count(*) FROM jobqueue.ready") == 2
    await engine.check_counts()


async def test_settle_sent_again_while_the_first_is_under_way_is_replayed(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request()] * 5)
    held = await engine.claim()
    batch = [settlement(lease, outcome()) for lease in held]
    async with first(engine) as settling:
        await leases.settle(settling.db, batch)
        again = await settling.meet(lambda: leases.settle(engine.db, batch), waits=True)
    assert [(one.status, one.next_status) for one in again] == [(SettleStatus.REPLAYED, "succeeded")] * 5
    await engine.check_counts()


async def test_cancel_of_an_unknown_job_waits_for_nobody(engine: Engine, acme: Caller) -> None:
    async with first(engine) as claiming:
        await engine.submit(acme)
        await claim_on(engine, claiming.db)
        assert isinstance(await claiming.meet(lambda: jobs.cancel(engine.db, acme, digest("nobody"), grace_s=30), waits=False), NotFound)
