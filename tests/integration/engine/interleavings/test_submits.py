"""Two submits of one idempotency key, beyond what the table of pairs tells of one."""

import asyncio

from jobqueue.domain.errors import SubmitInProgress
from jobqueue.domain.job import Submitted
from jobqueue.operations import jobs
from jobqueue.operations.jobs import Caller
from tests.engine import Engine, digest, request, until_somebody_waits
from tests.integration.engine.interleavings.steps import caught, first


async def test_submit_then_twin_waits_and_is_the_same_job(engine: Engine, acme: Caller) -> None:
    async with engine.submitter() as submitter, first(engine) as submitting:
        number = (await submitter._intake.number(acme.tenant_id, [request(key="k")]))[0]
        stored = await jobs.store.submit(submitting.db, [number], default_max_attempts=3, lock_timeout_ms=1000, deadline_s=5.0)
        answer = await submitting.meet(lambda: submitter.submit(acme.tenant_id, request(key="k")), waits=True)
    assert isinstance(answer, Submitted), answer
    assert (answer.job_id, answer.is_new) == (stored[0].job_id, False)
    await engine.check_counts()


async def test_submit_rolled_back_leaves_the_key_to_its_twin(engine: Engine, acme: Caller) -> None:
    async with engine.submitter() as submitter, first(engine) as submitting:
        number = (await submitter._intake.number(acme.tenant_id, [request(key="k")]))[0]
        await jobs.store.submit(submitting.db, [number], default_max_attempts=3, lock_timeout_ms=1000, deadline_s=5.0)
        task = asyncio.create_task(submitter.submit(acme.tenant_id, request(key="k")))
        await until_somebody_waits(engine.raw, on=submitting.pid)
        await submitting.end(commits=False)
        assert (await task).is_new
    await engine.check_counts()


async def test_submit_that_does_not_end_tells_its_twin(engine: Engine, acme: Caller) -> None:
    async with engine.submitter() as submitter, first(engine) as submitting:
        await submitting.connection.execute(
            "INSERT INTO jobqueue.idempotency (tenant_id, key_hash, request_hash, job_id) VALUES ($1, $2, $2, $2)",
            acme.tenant_id,
            digest("k"),
        )
        assert isinstance(await caught(lambda: submitter.submit(acme.tenant_id, request(key="k"))), SubmitInProgress)


async def test_batches_with_the_same_keys_in_opposite_order_do_not_deadlock(engine: Engine, acme: Caller) -> None:
    asked = [request(key=f"k-{number}") for number in range(100)]
    async with engine.submitter() as submitter, asyncio.TaskGroup() as group:
        numbers = await submitter._intake.number(acme.tenant_id, asked)
        for order in (numbers, numbers[::-1]) * 3:
            group.create_task(submitter._store(order))
    assert await engine.raw.fetchval("SELECT count(*) FROM jobqueue.job") == 100
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await engine.raw.fetchval(deadlocks) == 0
