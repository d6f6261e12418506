"""Cancel a job wherever it is."""

import pytest

from jobqueue.domain.errors import DatabaseUnavailable, NotFound, WrongState
from jobqueue.domain.lifecycle import Status
from jobqueue.operations import jobs, upkeep
from jobqueue.operations.jobs import Caller
from tests.engine import Engine, any_id, request

S = Status


async def cancel(engine: Engine, caller: Caller, job_id: object, *, grace_s: float = 30.0) -> Status:
    return await jobs.cancel(engine.db, caller, job_id, grace_s=grace_s)  # type: ignore[arg-type]


async def test_queued_job_is_cancelled_at_once_and_never_claimed(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    assert await cancel(engine, acme, job_id) is S.CANCELLED
    assert await engine.claim() == []
    assert await engine.history(acme, job_id) == ["submitted", "cancelled"]
    job = await engine.get(acme, job_id)
    assert (job.status, job.started_at) == (S.CANCELLED, None)
    assert job.finished_at is not None
    await engine.check_counts()


async def test_scheduled_failed_and_parked_jobs_are_cancelled_at_once(engine: Engine, acme: Caller) -> None:
    scheduled = await engine.submit(acme, delay_s=3600.0)
    failed = await engine.failed(acme)
    await engine.submit_all(acme, [request(concurrency_key="k")] * 2)
    await engine.claim_one()
    parked = await engine.raw.fetchval("SELECT job_id FROM jobqueue.parked")
    for job_id in (scheduled, failed, parked):
        assert await cancel(engine, acme, job_id) is S.CANCELLED
        assert await engine.status(acme, job_id) is S.CANCELLED
    await engine.check_counts()


async def test_blocked_job_is_cancelled_at_once(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    await engine.raw.execute(
        "WITH gone AS (DELETE FROM jobqueue.ready RETURNING *) INSERT INTO jobqueue.blocked SELECT gone.*, 1 FROM gone"
    )
    await engine.raw.execute("UPDATE jobqueue.tally SET status = 'blocked'")
    assert await engine.status(acme, job_id) is S.BLOCKED
    assert await cancel(engine, acme, job_id) is S.CANCELLED
    await engine.check_counts()


async def test_again_is_the_same_answer_and_writes_nothing(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    assert [await cancel(engine, acme, job_id) for _ in range(3)] == [S.CANCELLED] * 3
    assert await engine.history(acme, job_id) == ["submitted", "cancelled"]


@pytest.mark.parametrize("is_started", [False, True])
async def test_held_job_is_asked_once_and_gets_its_grace(engine: Engine, acme: Caller, is_started: bool) -> None:
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    if is_started:
        await engine.start(lease)
    expected = S.RUNNING if is_started else S.LEASED
    assert [await cancel(engine, acme, job_id, grace_s=5.0), await cancel(engine, acme, job_id, grace_s=500.0)] == [expected] * 2
    history = await engine.history(acme, job_id)
    assert history == ["submitted", "leased", *(["started"] if is_started else []), "cancel_requested"]
    row = await engine.row("lease", job_id)
    assert (row["deadline_at"] - row["cancel_requested_at"]).total_seconds() == pytest.approx(5, abs=0.1)


async def test_grace_never_lengthens_a_job_s_own_deadline(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, timeout_s=1)
    await engine.claim_one()
    before = (await engine.row("lease", job_id))["deadline_at"]
    await cancel(engine, acme, job_id, grace_s=1e6)
    assert (await engine.row("lease", job_id))["deadline_at"] == before


async def test_leased_job_asked_to_cancel_that_starts_all_the_same_reads_in_order(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    await cancel(engine, acme, job_id)
    await engine.start(lease)
    await engine.settle(lease)
    assert await engine.history(acme, job_id) == ["submitted", "leased", "cancel_requested", "started", "succeeded"]


async def test_ended_job_cannot_be_cancelled(engine: Engine, acme: Caller) -> None:
    succeeded, dlq = await engine.succeeded(acme), await engine.dlq(acme)
    expired = await engine.submit(acme, expires_in_s=0.0)
    await upkeep.expire(engine.db)
    for job_id, status in ((succeeded, "succeeded"), (dlq, "dlq"), (expired, "expired")):
        with pytest.raises(WrongState) as caught:
            await cancel(engine, acme, job_id)
        assert caught.value.status == status


async def test_another_tenant_s_job_is_not_there(engine: Engine, acme: Caller) -> None:
    other = await engine.tenant("other")
    waiting = await engine.submit(acme)
    held = await engine.submit(acme, "u")
    await engine.claim(types=["u"])
    for job_id in (waiting, held, any_id()):
        with pytest.raises(NotFound):
            await cancel(engine, other, job_id)
        with pytest.raises(NotFound):
            await engine.get(other, job_id)
        with pytest.raises(NotFound):
            await jobs.events(engine.db, other, job_id)
        with pytest.raises(NotFound):
            await jobs.retry(engine.db, other, job_id, is_reset=True)
    assert await engine.status(acme, waiting) is S.QUEUED
    assert (await engine.row("lease", held))["cancel_requested_at"] is None


async def test_a_job_that_moves_in_every_look_is_never_called_unknown(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    # the inbox stands for a place that is always one look ahead: the job is there, and no verb by id takes it from there
    await engine.raw.execute("DELETE FROM jobqueue.ready")
    await engine.raw.execute(
        """INSERT INTO jobqueue.inbox (tenant_id, queue, job_type, data, job_id, priority)
        SELECT tenant_id, 'default', 'echo', '{}', job_id, priority FROM jobqueue.job"""
    )
    with pytest.raises(DatabaseUnavailable):
        await cancel(engine, acme, job_id)
    with pytest.raises(DatabaseUnavailable):
        await jobs.patch(engine.db, acme, job_id, priority=0)
    await engine.raw.execute("DELETE FROM jobqueue.inbox")
    with pytest.raises(WrongState):  # in no place at all: it succeeded
        await cancel(engine, acme, job_id)
