"""Home: every outcome goes where domain/outcome.decide says, once, and only by the current token."""

import json
from datetime import timedelta

import pytest

from jobqueue.domain.errors import NotFinished
from jobqueue.domain.lease import Lease, SettleStatus
from jobqueue.domain.lifecycle import Status
from jobqueue.domain.outcome import Failure, OutcomeKind
from jobqueue.operations import jobs, leases
from jobqueue.operations.jobs import Caller
from tests.engine import Engine, any_id, outcome, request, settlement

K, S = OutcomeKind, Status


async def claimed(engine: Engine, caller: Caller, **fields: object) -> Lease:
    await engine.submit(caller, **fields)  # type: ignore[arg-type]
    return await engine.claim_one()


# --------------------------------------------------------------------------------------------------- outcomes


@pytest.mark.parametrize(
    ("kind", "fields", "status", "attempt", "history"),
    [
        (K.SUCCEEDED, {}, S.SUCCEEDED, 1, ["leased", "started", "succeeded"]),
        (K.FAILED, {"delay_s": 60.0}, S.FAILED, 1, ["leased", "started", "failed"]),
        (K.FAILED, {"is_retryable": False}, S.DLQ, 1, ["leased", "started", "failed", "dlq"]),
        (K.SNOOZED, {"delay_s": 60.0}, S.SCHEDULED, 0, ["leased", "started", "snoozed"]),
        (K.RELEASED, {}, S.QUEUED, 0, ["leased", "started", "released", "queued"]),
        (K.RELEASED, {"ran_s": None}, S.QUEUED, 0, ["leased", "released", "queued"]),
        (K.CANCELLED, {}, S.CANCELLED, 1, ["leased", "started", "cancelled"]),
    ],
)
async def test_outcome_without_a_report_before(
    engine: Engine, acme: Caller, kind: OutcomeKind, fields: dict[str, object], status: Status, attempt: int, history: list[str]
) -> None:
    lease = await claimed(engine, acme)
    settled = await engine.settle(lease, kind, **fields)
    assert (settled.status, settled.next_status) == (SettleStatus.SETTLED, status)
    job = await engine.get(acme, lease.job_id)
    assert (job.status, job.attempt, job.lease_owner) == (status, attempt, None)
    assert await engine.history(acme, lease.job_id) == ["submitted", *history]
    await engine.check_counts()


@pytest.mark.parametrize("kind", list(K)[:5])
async def test_outcome_after_a_report_writes_leased_and_started_once(engine: Engine, acme: Caller, kind: OutcomeKind) -> None:
    lease = await claimed(engine, acme)
    await engine.start(lease)
    await engine.settle(lease, kind)
    history = await engine.history(acme, lease.job_id)
    assert history[:4] == ["submitted", "leased", "started", kind.value]
    await engine.check_counts()


async def test_plain_success_has_exactly_four_events_and_its_times(engine: Engine, acme: Caller) -> None:
    lease = await claimed(engine, acme)
    await engine.settle(lease, result_json='{"n":1}', ran_s=0.001)
    events = (await jobs.events(engine.db, acme, lease.job_id)).events
    assert [event.type for event in events] == ["submitted", "leased", "started", "succeeded"]
    assert [event.worker_id for event in events] == [None, "worker-1", "worker-1", "worker-1"]
    assert [event.attempt for event in events[1:]] == [1, 1, 1]
    job = await engine.get(acme, lease.job_id)
    assert job.started_at == events[2].at
    assert job.finished_at is not None
    assert abs(job.finished_at - events[3].at) < timedelta(milliseconds=50)


async def test_last_failure_writes_failed_then_dlq(engine: Engine, acme: Caller) -> None:
    lease = await claimed(engine, acme, max_attempts=2)
    await engine.settle(lease, K.FAILED)
    await engine.promote()
    settled = await engine.settle(await engine.claim_one(), K.FAILED)
    assert settled.next_status == "dlq"
    assert await engine.history(acme, lease.job_id) == [
        "submitted",
        *("leased", "started", "failed", "queued"),
        *("leased", "started", "failed", "dlq"),
    ]


async def test_start_told_at_settle_is_never_before_the_claim(engine: Engine, acme: Caller) -> None:
    lease = await claimed(engine, acme)
    await engine.settle(lease, ran_s=1e6)
    await engine.history(acme, lease.job_id)  # in order of time


async def test_result_and_reference_are_stored_for_a_success(engine: Engine, acme: Caller) -> None:
    lease = await claimed(engine, acme)
    await engine.settle(lease, result_json='{"a":[1,2]}', result_ref="file.png")
    job = await jobs.result(engine.db, acme, lease.job_id)
    assert (job.result_json, job.result_ref, job.error_json) == ('{"a":[1,2]}', "file.png", None)


async def test_error_is_stored_for_a_failure_and_gone_after_a_success(engine: Engine, acme: Caller) -> None:
    lease = await claimed(engine, acme)
    await engine.settle(lease, K.FAILED, failure=Failure("ValueError", "no", "Traceback"))
    job = await engine.get(acme, lease.job_id)
    assert json.loads(job.error_json or "") == {"type": "ValueError", "message": "no", "traceback": "Traceback"}
    with pytest.raises(NotFinished):
        await jobs.result(engine.db, acme, lease.job_id)
    await engine.promote()
    await engine.settle(await engine.claim_one())
    assert (await engine.get(acme, lease.job_id)).error_json is None


async def test_failed_job_waits_for_its_backoff_then_queues(engine: Engine, acme: Caller) -> None:
    lease = await claimed(engine, acme)
    await engine.settle(lease, K.FAILED, delay_s=100.0)
    row = await engine.row("scheduled", lease.job_id)
    assert 99 < (row["run_at"] - await engine.now()).total_seconds() < 101
    assert await engine.promote(after_s=50) == {}
    assert sum((await engine.promote(after_s=110)).values()) == 1
    again = await engine.claim_one()
    assert again.standing.attempt == 2
    assert again.token != lease.token


async def test_crashed_isolated_run_is_isolated_again_and_buried_at_the_limit(engine: Engine, acme: Caller) -> None:
    lease = await claimed(engine, acme, max_attempts=10)
    for crashes in (1, 2):
        assert (await engine.settle(lease, K.FAILED, is_crash=True, delay_s=0.0)).next_status == "failed"
        await engine.promote()
        lease = await engine.claim_one()
        assert (lease.is_isolated, lease.standing.crashes) == (True, crashes)
    assert (await engine.settle(lease, K.FAILED, is_crash=True)).next_status == "dlq"


async def test_delay_no_row_can_hold_does_not_stop_the_batch(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request()] * 2)
    one, two = await engine.claim()
    await engine.settle_all([(one, outcome(K.SNOOZED, delay_s=1e300)), (two, outcome())])
    assert await engine.status(acme, one.job_id) is S.SCHEDULED


# ------------------------------------------------------------------------------------------------------ fences


async def test_same_settle_again_is_replayed_and_changes_nothing(engine: Engine, acme: Caller) -> None:
    for kind in (K.SUCCEEDED, K.FAILED, K.SNOOZED, K.RELEASED, K.CANCELLED):
        lease = await claimed(engine, acme)
        first = await engine.settle(lease, kind)
        before = await engine.history(acme, lease.job_id)
        again = await engine.settle(lease, kind)
        assert (again.status, again.next_status) == (SettleStatus.REPLAYED, first.next_status)
        assert await engine.history(acme, lease.job_id) == before
        if kind is K.RELEASED:
            await jobs.cancel(engine.db, acme, lease.job_id, grace_s=1)
    await engine.check_counts()


async def test_replay_of_a_last_failure_says_dlq(engine: Engine, acme: Caller) -> None:
    lease = await claimed(engine, acme, max_attempts=1)
    assert [(await engine.settle(lease, K.FAILED)).next_status for _ in range(2)] == ["dlq", "dlq"]


async def test_same_token_with_another_outcome_is_lost(engine: Engine, acme: Caller) -> None:
    lease = await claimed(engine, acme)
    await engine.settle(lease, K.SUCCEEDED)
    settled = await engine.settle(lease, K.FAILED)
    assert (settled.status, settled.next_status) == (SettleStatus.LEASE_LOST, None)
    assert await engine.status(acme, lease.job_id) is S.SUCCEEDED


async def test_wrong_token_changes_nothing(engine: Engine, acme: Caller) -> None:
    lease = await claimed(engine, acme)
    token, lease.token = lease.token, any_id()
    assert (await engine.settle(lease)).status is SettleStatus.LEASE_LOST
    assert await engine.status(acme, lease.job_id) is S.LEASED
    lease.token = token
    assert (await engine.settle(lease)).status is SettleStatus.SETTLED


async def test_zombie_s_settle_is_lost_after_recovery_and_after_the_next_claim(engine: Engine, acme: Caller) -> None:
    zombie = await claimed(engine, acme)
    await engine.start(zombie)
    await engine.recover()
    assert (await engine.settle(zombie)).status is SettleStatus.LEASE_LOST
    assert await engine.status(acme, zombie.job_id) is S.QUEUED
    owner = await engine.claim_one()
    assert (await engine.settle(zombie)).status is SettleStatus.LEASE_LOST
    assert (await engine.settle(owner)).status is SettleStatus.SETTLED


async def test_nobody_takes_the_reaper_s_settle_for_his_own(engine: Engine, acme: Caller) -> None:
    lease = await claimed(engine, acme)
    await engine.recover()
    assert (await engine.settle(lease, K.LEASE_EXPIRED)).status is SettleStatus.LEASE_LOST


async def test_late_settle_with_the_current_token_is_accepted(engine: Engine, acme: Caller) -> None:
    lease = await claimed(engine, acme)
    await engine.raw.execute("UPDATE jobqueue.lease SET expires_at = '-infinity', deadline_at = '-infinity'")
    assert (await engine.settle(lease)).status is SettleStatus.SETTLED


async def test_old_and_new_lease_of_one_job_in_one_batch_are_told_apart(engine: Engine, acme: Caller) -> None:
    old = await claimed(engine, acme)
    await engine.recover()
    new = await engine.claim_one()
    settled = await engine.settle_all([(old, outcome(K.FAILED)), (new, outcome())])
    assert [one.status for one in settled] == [SettleStatus.LEASE_LOST, SettleStatus.SETTLED]
    assert await engine.status(acme, old.job_id) is S.SUCCEEDED


async def test_mixed_batch_is_answered_in_order_each_on_its_own(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request(concurrency_key=f"k-{number}" if number % 2 else None) for number in range(7)])
    held = await engine.claim()
    assert len(held) == 7
    await engine.settle(held[2])
    await jobs.cancel(engine.db, acme, held[4].job_id, grace_s=30)
    stranger = settlement(held[6], outcome())
    stranger.token = any_id()
    settled = await leases.settle(
        engine.db,
        [
            settlement(held[0], outcome()),
            settlement(held[1], outcome(K.FAILED)),
            settlement(held[2], outcome()),
            settlement(held[3], outcome(K.RELEASED)),
            settlement(held[4], outcome(K.FAILED)),
            settlement(held[5], outcome(K.FAILED, is_retryable=False)),
            stranger,
        ],
    )
    assert [(one.status.value, one.next_status) for one in settled] == [
        ("settled", "succeeded"),
        ("settled", "failed"),
        ("replayed", "succeeded"),
        ("settled", "queued"),
        ("settled", "cancelled"),
        ("settled", "dlq"),
        ("lease_lost", None),
    ]
    await engine.check_counts()


# ------------------------------------------------------------------------------------------------- cancelling


@pytest.mark.parametrize("kind", [K.FAILED, K.SNOOZED, K.RELEASED, K.CANCELLED])
@pytest.mark.parametrize("is_started", [False, True])
async def test_cancel_wins_over_everything_but_success(engine: Engine, acme: Caller, kind: OutcomeKind, is_started: bool) -> None:
    lease = await claimed(engine, acme)
    if is_started:
        await engine.start(lease)
    await jobs.cancel(engine.db, acme, lease.job_id, grace_s=30)
    settled = await engine.settle(lease, kind)
    assert settled.next_status == "cancelled"
    assert await engine.status(acme, lease.job_id) is S.CANCELLED
    history = await engine.history(acme, lease.job_id)
    assert history.count("cancelled") == 1
    assert history[-1] == "cancelled"
    again = await engine.settle(lease, kind)
    assert (again.status, again.next_status) == (SettleStatus.REPLAYED, "cancelled")
    await engine.check_counts()


async def test_success_wins_over_cancel(engine: Engine, acme: Caller) -> None:
    lease = await claimed(engine, acme)
    await engine.start(lease)
    await jobs.cancel(engine.db, acme, lease.job_id, grace_s=30)
    assert (await engine.settle(lease, result_json="1")).next_status == "succeeded"
    assert (await jobs.result(engine.db, acme, lease.job_id)).result_json == "1"
    assert await engine.history(acme, lease.job_id) == ["submitted", "leased", "started", "cancel_requested", "succeeded"]
