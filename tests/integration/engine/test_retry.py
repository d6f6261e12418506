"""Send an ended job back by hand."""

import asyncio

import pytest

from jobqueue.domain.errors import AttemptsExhausted, NotFound, WrongState
from jobqueue.domain.lifecycle import Status
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.domain.rotation import Lane
from jobqueue.operations import jobs, upkeep
from jobqueue.operations.jobs import Caller
from tests.engine import Engine, any_id

S = Status


async def retry(engine: Engine, caller: Caller, job_id: object, *, is_reset: bool = True) -> Lane | None:
    return await jobs.retry(engine.db, caller, job_id, is_reset=is_reset)  # type: ignore[arg-type]


async def arrange(engine: Engine, caller: Caller, status: Status) -> object:
    match status:
        case S.DLQ:
            return await engine.dlq(caller)
        case S.SUCCEEDED:
            return await engine.succeeded(caller)
        case S.FAILED:
            return await engine.failed(caller)
        case S.CANCELLED:
            job_id = await engine.submit(caller)
            await jobs.cancel(engine.db, caller, job_id, grace_s=1)
            return job_id
        case S.EXPIRED:
            job_id = await engine.submit(caller, expires_in_s=0.0)
            await upkeep.expire(engine.db)
            return job_id
    raise AssertionError(status)


RETRYABLE = [S.DLQ, S.SUCCEEDED, S.FAILED, S.CANCELLED, S.EXPIRED]


@pytest.mark.parametrize("status", RETRYABLE)
async def test_job_goes_back_to_the_queue_and_runs(engine: Engine, acme: Caller, status: Status) -> None:
    job_id = await arrange(engine, acme, status)
    assert await engine.status(acme, job_id) is status  # type: ignore[arg-type]
    lane = await retry(engine, acme, job_id)
    assert lane is not None
    job = await engine.get(acme, job_id)  # type: ignore[arg-type]
    assert (job.status, job.attempt, job.finished_at) == (S.QUEUED, 0, None)
    assert (await engine.history(acme, job_id))[-2:] == ["retried", "queued"]  # type: ignore[arg-type]
    await engine.check_counts()
    lease = await engine.claim_one()
    assert (lease.standing.attempt, lease.is_isolated) == (1, False)
    await engine.settle(lease, result_json="2")
    assert (await jobs.result(engine.db, acme, lease.job_id)).result_json == "2"
    await engine.check_counts()


@pytest.mark.parametrize("status", RETRYABLE)
async def test_of_two_retries_at_once_one_wins(engine: Engine, acme: Caller, status: Status) -> None:
    job_id = await arrange(engine, acme, status)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(verdict(engine, acme, job_id)) for _ in range(4)]
    assert sorted(task.result() for task in tasks) == ["queued", "wrong_state", "wrong_state", "wrong_state"]
    assert (await engine.history(acme, job_id)).count("retried") == 1  # type: ignore[arg-type]
    assert len(await engine.claim()) == 1
    await engine.check_counts()


async def verdict(engine: Engine, caller: Caller, job_id: object) -> str:
    try:
        await retry(engine, caller, job_id)
    except WrongState as error:
        return error.code
    return "queued"


async def test_attempts_left_are_kept_without_a_reset(engine: Engine, acme: Caller) -> None:
    job_id = await engine.dlq(acme, max_attempts=3)
    await retry(engine, acme, job_id, is_reset=False)
    assert (await engine.claim_one()).standing.attempt == 2


@pytest.mark.parametrize("kind", [OutcomeKind.FAILED, OutcomeKind.SUCCEEDED])
async def test_no_attempts_left_is_exhausted_unless_they_are_reset(engine: Engine, acme: Caller, kind: OutcomeKind) -> None:
    job_id = await engine.submit(acme, max_attempts=1)
    await engine.settle(await engine.claim_one(), kind)
    before = await engine.status(acme, job_id)
    with pytest.raises(AttemptsExhausted):
        await retry(engine, acme, job_id, is_reset=False)
    assert await engine.status(acme, job_id) is before
    await retry(engine, acme, job_id)
    assert await engine.status(acme, job_id) is S.QUEUED
    await engine.check_counts()


async def test_job_that_crashed_is_isolated_again_unless_reset(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, max_attempts=9)
    for _ in range(engine.terms.crashes_max):
        await engine.start(await engine.claim_one())
        await engine.recover()
    assert await engine.status(acme, job_id) is S.DLQ
    await retry(engine, acme, job_id, is_reset=False)
    lease = await engine.claim_one()
    assert lease.standing.crashes == 1
    await engine.settle(lease, OutcomeKind.FAILED, is_retryable=False)
    await retry(engine, acme, job_id)
    assert (await engine.claim_one()).standing.crashes == 0


async def test_waiting_and_running_jobs_are_in_the_wrong_state(engine: Engine, acme: Caller) -> None:
    scheduled = await engine.submit(acme, delay_s=100.0)
    running = await engine.submit(acme)
    lease = await engine.claim_one()
    leased = await engine.submit(acme)
    await engine.start(lease)
    await engine.claim_one()
    queued = await engine.submit(acme)
    for job_id, status in ((scheduled, "scheduled"), (running, "running"), (leased, "leased"), (queued, "queued")):
        with pytest.raises(WrongState) as caught:
            await retry(engine, acme, job_id)
        assert caught.value.status == status


async def test_snoozed_job_is_not_a_failed_one(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    await engine.settle(await engine.claim_one(), OutcomeKind.SNOOZED, delay_s=100.0)
    with pytest.raises(WrongState):
        await retry(engine, acme, job_id)


async def test_unknown_job_is_not_there(engine: Engine, acme: Caller) -> None:
    with pytest.raises(NotFound):
        await retry(engine, acme, any_id())


async def test_retried_job_ends_again_and_again(engine: Engine, acme: Caller) -> None:
    job_id = await engine.succeeded(acme)
    for kind, status in ((OutcomeKind.CANCELLED, S.CANCELLED), (OutcomeKind.SUCCEEDED, S.SUCCEEDED), (OutcomeKind.SUCCEEDED, S.SUCCEEDED)):
        await retry(engine, acme, job_id)
        await engine.settle(await engine.claim_one(), kind)
        assert await engine.status(acme, job_id) is status
        await engine.check_counts()


async def test_keyed_job_keeps_its_key(engine: Engine, acme: Caller) -> None:
    job_id = await engine.dlq(acme, concurrency_key="k")
    await retry(engine, acme, job_id)
    assert (await engine.claim_one()).key_id is not None


async def test_jobs_with_reset_attempts_have_a_history_of_all_their_runs(engine: Engine, acme: Caller) -> None:
    job_id = await engine.dlq(acme, max_attempts=1)
    await retry(engine, acme, job_id)
    await engine.settle(await engine.claim_one())
    assert await engine.history(acme, job_id) == [
        "submitted",
        *("leased", "started", "failed", "dlq"),
        *("retried", "queued"),
        *("leased", "started", "succeeded"),
    ]
