"""Renewals: what the holder tells, and what it is told."""

import asyncio

import pytest

from jobqueue.domain.lease import Beat, BeatStatus
from jobqueue.domain.lifecycle import Status
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.operations import jobs, leases
from jobqueue.operations.jobs import Caller
from tests.engine import Engine, any_id, request


async def test_beat_renews_by_the_lease_s_own_length(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    await engine.raw.execute("UPDATE jobqueue.lease SET expires_at = clock_timestamp() - interval '1 hour', lease_s = 100")
    assert await engine.beat(lease) is BeatStatus.OK  # late, but the token is current
    row = await engine.row("lease", job_id)
    assert 99 < (row["expires_at"] - await engine.now()).total_seconds() < 101


async def test_first_report_of_a_start_writes_leased_and_started(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    assert await engine.history(acme, job_id) == ["submitted"]
    assert await engine.start(lease) is BeatStatus.OK
    job = await engine.get(acme, job_id)
    assert job.status is Status.RUNNING
    assert job.started_at is not None
    assert await engine.history(acme, job_id) == ["submitted", "leased", "started"]
    await engine.start(lease)
    assert await engine.history(acme, job_id) == ["submitted", "leased", "started"]
    assert (await engine.get(acme, job_id)).started_at == job.started_at


async def test_beat_before_the_start_writes_leased_once(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    await engine.beat(lease)
    await engine.beat(lease)
    assert await engine.status(acme, job_id) is Status.LEASED
    assert await engine.history(acme, job_id) == ["submitted", "leased"]
    await engine.start(lease)
    assert await engine.history(acme, job_id) == ["submitted", "leased", "started"]


async def test_start_is_never_before_the_claim(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    await engine.start(lease, ago_s=1e6)
    row = await engine.row("lease", job_id)
    assert row["started_at"] == row["claimed_at"]
    await engine.history(acme, job_id)  # in order of time


async def test_progress_is_shown_kept_and_cleared_by_the_next_attempt(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    await engine.start(lease, progress=25.0, message="a quarter")
    await engine.beat(lease)
    job = await engine.get(acme, job_id)
    assert (job.progress, job.progress_message) == (25.0, "a quarter")
    await engine.beat(lease, progress=50.0)
    job = await engine.get(acme, job_id)
    assert (job.progress, job.progress_message) == (50.0, "a quarter")
    await engine.settle(lease, OutcomeKind.FAILED, delay_s=0.0)
    await engine.promote()
    await engine.claim_one()
    job = await engine.get(acme, job_id)
    assert (job.progress, job.progress_message) == (None, None)


async def test_success_shows_all_progress(engine: Engine, acme: Caller) -> None:
    assert (await engine.get(acme, await engine.succeeded(acme))).progress == 100


async def test_wrong_token_and_ended_job_are_lost(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme)
    lease = await engine.claim_one()
    before = await engine.row("lease", lease.job_id)
    wrong = Beat(lease.job_id, any_id(), 0.0, 50.0)
    assert await leases.heartbeat(engine.db, [wrong]) == [BeatStatus.LOST]
    assert await engine.row("lease", lease.job_id) == before
    assert await engine.history(acme, lease.job_id) == ["submitted"]
    await engine.settle(lease)
    assert await engine.beat(lease) is BeatStatus.LOST


async def test_locked_lease_is_busy_and_not_lost(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request()] * 2)
    one, two = await engine.claim()
    other = await engine.connect()
    async with other.transaction():
        await other.execute("SELECT FROM jobqueue.lease WHERE job_id = $1 FOR UPDATE", one.job_id)
        beats = [Beat(lease.job_id, lease.token) for lease in (one, two)]
        assert await leases.heartbeat(engine.db, beats) == [BeatStatus.BUSY, BeatStatus.OK]
    assert await engine.beat(one) is BeatStatus.OK
    other.terminate()


async def test_asked_to_cancel_is_told_at_every_beat_and_still_renewed(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    await engine.start(lease)
    await jobs.cancel(engine.db, acme, job_id, grace_s=30)
    before = await engine.row("lease", job_id)
    assert [await engine.beat(lease) for _ in range(2)] == [BeatStatus.CANCEL_REQUESTED] * 2
    assert (await engine.row("lease", job_id))["expires_at"] > before["expires_at"]


async def test_answers_come_in_order_of_the_beats(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request()] * 5)
    held = await engine.claim()
    await engine.settle(held[1])
    await jobs.cancel(engine.db, acme, held[3].job_id, grace_s=30)
    beats = [Beat(lease.job_id, lease.token) for lease in reversed(held)]
    assert await leases.heartbeat(engine.db, beats) == [
        BeatStatus.OK,
        BeatStatus.CANCEL_REQUESTED,
        BeatStatus.OK,
        BeatStatus.LOST,
        BeatStatus.OK,
    ]


async def test_old_and_new_lease_of_one_job_in_one_batch_are_told_apart(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme)
    old = await engine.claim_one()
    await engine.recover()
    new = await engine.claim_one()
    for pair, expected in (((old, new), [BeatStatus.LOST, BeatStatus.OK]), ((new, old), [BeatStatus.OK, BeatStatus.LOST])):
        assert await leases.heartbeat(engine.db, [Beat(lease.job_id, lease.token) for lease in pair]) == expected


@pytest.mark.parametrize("progress", [-1.0, 101.0, float("nan"), float("inf")])
async def test_progress_out_of_bounds_does_not_cost_the_neighbours_their_leases(engine: Engine, acme: Caller, progress: float) -> None:
    await engine.submit_all(acme, [request()] * 2)
    one, two = await engine.claim()
    beats = [Beat(one.job_id, one.token, 0.0, progress), Beat(two.job_id, two.token, 0.0)]
    assert await leases.heartbeat(engine.db, beats) == [BeatStatus.OK, BeatStatus.OK]


async def test_beats_of_two_batches_in_opposite_order_do_not_deadlock(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request()] * 40)
    beats = [Beat(lease.job_id, lease.token) for lease in await engine.claim()]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(leases.heartbeat(engine.db, order)) for _ in range(10) for order in (beats, beats[::-1])]
    assert {status for task in tasks for status in task.result()} <= {BeatStatus.OK, BeatStatus.BUSY}
