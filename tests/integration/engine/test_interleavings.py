"""Two transitions that meet on one job: the first holds its locks in an open transaction, the second arrives, the first commits.

Nothing sleeps: the second is known to have arrived when Postgres shows it waiting for the first, or when it has answered without waiting.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jobqueue.domain.errors import JobQueueError, NotFound, SubmitInProgress
from jobqueue.domain.lease import Beat, BeatStatus, Lease, SettleStatus
from jobqueue.domain.lifecycle import Status
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.operations import jobs, leases, upkeep
from jobqueue.operations.jobs import Caller
from jobqueue.store import leases as store
from jobqueue.store.pool import Database, Transaction
from tests.engine import UP_S, Engine, OneConnection, digest, outcome, request, settlement, until_somebody_waits

S = Status
Act = Callable[[], Awaitable[Any]]


class First:
    """The transition that came first: its work is done, its transaction is open."""

    def __init__(self, engine: Engine, connection: Any) -> None:
        self._engine = engine
        self._transaction = connection.transaction()
        self.pid = connection.get_server_pid()
        self.db = OneConnection(connection)

    async def begin(self) -> None:
        await self._transaction.start()

    async def meet(self, second: Act, *, waits: bool) -> Any:
        """Let the second arrive, commit, and answer what the second answered. waits: whether it has to wait for the first."""
        task = asyncio.create_task(caught(second))
        try:
            if waits:
                await until_somebody_waits(self._engine.raw, on=self.pid)
                assert not task.done()
            else:
                await task
            await self._transaction.commit()
            return await task
        finally:
            task.cancel()


async def caught(act: Act) -> Any:
    """What an act answered or raised."""
    try:
        return await act()
    except JobQueueError as error:
        return error


@asynccontextmanager
async def first(engine: Engine) -> AsyncIterator[First]:
    connection = await engine.connect()
    made = First(engine, connection)
    await made.begin()
    try:
        yield made
    finally:
        connection.terminate()


async def claim_on(engine: Engine, db: Database) -> list[Lease]:
    claimer = await engine.claimer()
    claimer._db = db
    return await claimer.claim(jobs_max=10)


def cancel(engine: Engine, caller: Caller, job_id: Any) -> Act:
    return lambda: jobs.cancel(engine.db, caller, job_id, grace_s=30)


def settle(engine: Engine, lease: Lease, kind: OutcomeKind = OutcomeKind.SUCCEEDED) -> Act:
    return lambda: engine.settle(lease, kind)


async def recover_on(engine: Engine, db: Database) -> list[leases.Recovered]:
    return await leases.recover(db, engine.terms, resumed_for_s=UP_S, now=await engine.later(1e5))


# ----------------------------------------------------------------------------------------------- claim x cancel


async def test_claim_then_cancel_asks_the_new_holder(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    async with first(engine) as claiming:
        (lease,) = await claim_on(engine, claiming.db)
        assert await claiming.meet(cancel(engine, acme, job_id), waits=True) is S.LEASED
    assert await engine.beat(lease) is BeatStatus.CANCEL_REQUESTED
    await engine.check_counts()


async def test_cancel_then_claim_finds_nothing(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    async with first(engine) as cancelling:
        await jobs.cancel(cancelling.db, acme, job_id, grace_s=30)
        assert await cancelling.meet(engine.claim, waits=True) == []
    assert await engine.status(acme, job_id) is S.CANCELLED
    await engine.check_counts()


async def test_cancel_rolled_back_leaves_the_job_to_the_claim(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    async with first(engine) as cancelling:
        await jobs.cancel(cancelling.db, acme, job_id, grace_s=30)
        task = asyncio.create_task(engine.claim())
        await until_somebody_waits(engine.raw, on=cancelling.pid)
        await cancelling._transaction.rollback()
        assert [lease.job_id for lease in await task] == [job_id]
    await engine.check_counts()


# ----------------------------------------------------------------------------------------------- claim x expire


async def test_claim_then_expire_passes_the_job_by(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, expires_in_s=3600.0)
    late = await engine.later(7200)
    async with first(engine) as claiming:
        await claim_on(engine, claiming.db)
        assert await claiming.meet(lambda: upkeep.expire(engine.db, now=late), waits=False) == 0
    assert await engine.status(acme, job_id) is S.LEASED
    await engine.check_counts()


async def test_expire_then_claim_finds_nothing(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, expires_in_s=3600.0)
    async with first(engine) as expiring:
        assert await upkeep.expire(expiring.db, now=await engine.later(7200)) == 1
        assert await expiring.meet(engine.claim, waits=True) == []
    assert await engine.status(acme, job_id) is S.EXPIRED
    await engine.check_counts()


# ---------------------------------------------------------------------------------------------- settle x recover


@pytest.mark.parametrize("key", [None, "k"])
async def test_settle_then_recover_passes_the_lease_by(engine: Engine, acme: Caller, key: str | None) -> None:
    job_id = await engine.submit(acme, concurrency_key=key)
    lease = await engine.claim_one()
    async with first(engine) as settling:
        await leases.settle(settling.db, [settlement(lease, outcome())])
        # with a key, recovery waits for the key's gate and then finds the lease gone
        assert await settling.meet(engine.recover, waits=key is not None) == []
    assert await engine.status(acme, job_id) is S.SUCCEEDED
    await engine.check_counts()


@pytest.mark.parametrize("key", [None, "k"])
async def test_recover_then_settle_is_lost(engine: Engine, acme: Caller, key: str | None) -> None:
    job_id = await engine.submit(acme, concurrency_key=key)
    lease = await engine.claim_one()
    await engine.start(lease)
    async with first(engine) as recovering:
        work = RecoverInside(engine)
        await work(Transaction(recovering.db._only))
        settled = await recovering.meet(settle(engine, lease), waits=True)
    assert settled.status is SettleStatus.LEASE_LOST
    assert await engine.status(acme, job_id) is S.QUEUED
    assert (await engine.history(acme, job_id)).count("lease_expired") == 1
    await engine.check_counts()


class RecoverInside:
    """A recovery in a transaction that is open already."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, transaction: Transaction) -> None:
        rows = await store.lost(transaction, limit=10, resumed_for_s=UP_S, now=await self._engine.later(1e5))
        settlements = [leases._lost_settlement(row, self._engine.terms) for row in rows]
        nexts = [leases.decide(one.standing, one.outcome, jitter=0.0) for one in settlements]
        await store.settle(transaction, settlements, nexts, is_reaper=True)


# ------------------------------------------------------------------------------------------- heartbeat x recover


async def test_heartbeat_then_recover_passes_the_lease_by(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme)
    lease = await engine.claim_one()
    await engine.raw.execute("UPDATE jobqueue.lease SET expires_at = '-infinity', deadline_at = 'infinity'")
    async with first(engine) as beating:
        assert await leases.heartbeat(beating.db, [Beat(lease.job_id, lease.token)]) == [BeatStatus.OK]
        assert await beating.meet(lambda: engine.recover(after_s=0.0), waits=False) == []
    assert await engine.recover(after_s=-1.0) == []
    assert await engine.beat(lease) is BeatStatus.OK


async def test_recover_then_heartbeat_is_busy_and_then_lost(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme)
    lease = await engine.claim_one()
    async with first(engine) as recovering:
        await RecoverInside(engine)(Transaction(recovering.db._only))
        assert await recovering.meet(lambda: engine.beat(lease), waits=False) is BeatStatus.BUSY
    assert await engine.beat(lease) is BeatStatus.LOST


async def test_lease_renewed_between_look_and_lock_is_left(engine: Engine, acme: Caller) -> None:
    """The row lock re-checks: a recovery that had seen the lease as over finds it renewed."""
    await engine.submit(acme, concurrency_key="k")
    lease = await engine.claim_one()
    await engine.raw.execute("UPDATE jobqueue.lease SET expires_at = '-infinity', deadline_at = 'infinity'")
    async with first(engine) as holding:  # the key's gate holds recovery up after its first look
        await holding.db._only.execute("SELECT FROM jobqueue.concurrency_key FOR NO KEY UPDATE")
        task = asyncio.create_task(engine.recover(after_s=0.0))
        await until_somebody_waits(engine.raw, on=holding.pid)
        assert await engine.beat(lease) is BeatStatus.OK
        await holding._transaction.rollback()
        assert await task == []


# ----------------------------------------------------------------------------------------------- settle x cancel


async def test_settle_then_cancel_is_too_late(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    async with first(engine) as settling:
        await leases.settle(settling.db, [settlement(lease, outcome())])
        refused = await settling.meet(cancel(engine, acme, job_id), waits=True)
    assert (refused.code, refused.status) == ("wrong_state", "succeeded")


async def test_failed_settle_then_cancel_finds_the_job_in_its_new_place(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    async with first(engine) as settling:
        await leases.settle(settling.db, [settlement(lease, outcome(OutcomeKind.FAILED))])
        assert await settling.meet(cancel(engine, acme, job_id), waits=True) is S.CANCELLED
    assert (await engine.history(acme, job_id))[-2:] == ["failed", "cancelled"]
    await engine.check_counts()


async def test_cancel_then_failed_settle_ends_cancelled(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    async with first(engine) as cancelling:
        await jobs.cancel(cancelling.db, acme, job_id, grace_s=30)
        settled = await cancelling.meet(settle(engine, lease, OutcomeKind.FAILED), waits=True)
    assert (settled.status, settled.next_status) == (SettleStatus.SETTLED, "cancelled")
    assert await engine.history(acme, job_id) == ["submitted", "leased", "cancel_requested", "started", "failed", "cancelled"]
    await engine.check_counts()


async def test_cancel_then_successful_settle_succeeds(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    async with first(engine) as cancelling:
        await jobs.cancel(cancelling.db, acme, job_id, grace_s=30)
        settled = await cancelling.meet(settle(engine, lease), waits=True)
    assert settled.next_status == "succeeded"
    await engine.check_counts()


# ------------------------------------------------------------------------------------------------- retry x others


@pytest.mark.parametrize("status", [S.DLQ, S.SUCCEEDED, S.FAILED])
async def test_retry_then_retry_finds_the_job_queued(engine: Engine, acme: Caller, status: Status) -> None:
    arrange = {S.DLQ: engine.dlq, S.SUCCEEDED: engine.succeeded, S.FAILED: engine.failed}[status]
    job_id = await arrange(acme)
    async with first(engine) as retrying:
        await jobs.retry(retrying.db, acme, job_id, is_reset=True)
        refused = await retrying.meet(lambda: jobs.retry(engine.db, acme, job_id, is_reset=True), waits=True)
    assert (refused.code, refused.status) == ("wrong_state", "queued")
    assert len(await engine.claim()) == 1
    await engine.check_counts()


@pytest.mark.parametrize("is_reset", [True, False])
async def test_settle_then_retry_that_saw_it_running(engine: Engine, acme: Caller, is_reset: bool) -> None:
    """The retry begins while the job runs and gets its lock when it has succeeded: it must not be told that attempts are used up."""
    job_id = await engine.submit(acme)
    lease = await engine.claim_one()
    async with first(engine) as holding:
        await holding.db._only.execute("SELECT FROM jobqueue.job FOR NO KEY UPDATE")
        task = asyncio.create_task(caught(lambda: jobs.retry(engine.db, acme, job_id, is_reset=is_reset)))
        await until_somebody_waits(engine.raw, on=holding.pid)
        await engine.settle(lease)
        await holding._transaction.rollback()
        assert not isinstance(await task, JobQueueError)
    assert await engine.status(acme, job_id) is S.QUEUED
    await engine.check_counts()


async def test_promote_then_retry_of_a_failed_job_finds_it_queued(engine: Engine, acme: Caller) -> None:
    job_id = await engine.failed(acme)
    async with first(engine) as promoting:
        await upkeep.promote(promoting.db, now=await engine.later(1e5))
        refused = await promoting.meet(lambda: jobs.retry(engine.db, acme, job_id, is_reset=True), waits=True)
    assert refused.code == "wrong_state"
    await engine.check_counts()


# ----------------------------------------------------------------------------------------------- submit x submit


async def test_submit_then_twin_waits_and_is_the_same_job(engine: Engine, acme: Caller) -> None:
    async with engine.submitter() as submitter, first(engine) as submitting:
        number = (await submitter._intake.number(acme.tenant_id, [request(key="k")]))[0]
        stored = await jobs.store.submit(submitting.db, [number], default_max_attempts=3, lock_timeout_ms=1000, deadline_s=5.0)
        answer = await submitting.meet(lambda: submitter.submit(acme.tenant_id, request(key="k")), waits=True)
    assert (answer.job_id, answer.is_new) == (stored[0].job_id, False)
    await engine.check_counts()


async def test_submit_rolled_back_leaves_the_key_to_its_twin(engine: Engine, acme: Caller) -> None:
    async with engine.submitter() as submitter, first(engine) as submitting:
        number = (await submitter._intake.number(acme.tenant_id, [request(key="k")]))[0]
        await jobs.store.submit(submitting.db, [number], default_max_attempts=3, lock_timeout_ms=1000, deadline_s=5.0)
        task = asyncio.create_task(submitter.submit(acme.tenant_id, request(key="k")))
        await until_somebody_waits(engine.raw, on=submitting.pid)
        await submitting._transaction.rollback()
        assert (await task).is_new
    await engine.check_counts()


async def test_submit_that_does_not_end_tells_its_twin(engine: Engine, acme: Caller) -> None:
    async with engine.submitter() as submitter, first(engine) as submitting:
        await submitting.db._only.execute(
            "INSERT INTO jobqueue.idempotency (tenant_id, key_hash, request_hash, job_id) VALUES ($1, $2, $2, $2)",
            acme.tenant_id,
            digest("k"),
        )
        assert isinstance(await caught(lambda: submitter.submit(acme.tenant_id, request(key="k"))), SubmitInProgress)


async def test_batches_with_the_same_keys_in_opposite_order_do_not_deadlock(engine: Engine, acme: Caller) -> None:
    asked = [request(key=f"k-{number}") for number in range(100)]
    async with engine.submitter() as submitter, asyncio.TaskGroup() as group:
        numbers = [(await submitter._intake.number(acme.tenant_id, [one]))[0] for one in asked]
        for order in (numbers, numbers[::-1]) * 3:
            group.create_task(submitter._store(order))
    assert await engine.raw.fetchval("SELECT count(*) FROM jobqueue.job") == 100
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await engine.raw.fetchval(deadlocks) == 0


# --------------------------------------------------------------------------------------------- recover x recover


async def test_recover_then_recover_passes_the_lease_by(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request()] * 2)
    await engine.claim()
    async with first(engine) as recovering:
        await RecoverInside(engine)(Transaction(recovering.db._only))
        assert await recovering.meet(engine.recover, waits=False) == []
    assert await engine.raw.fetchval("SELECT count(*) FROM jobqueue.ready") == 2
    await engine.check_counts()


# --------------------------------------------------------------------------------------------- promote x cancel


async def test_promote_then_cancel_finds_the_job_in_its_new_place(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, delay_s=10.0)
    async with first(engine) as promoting:
        await upkeep.promote(promoting.db, now=await engine.later(100))
        assert await promoting.meet(cancel(engine, acme, job_id), waits=True) is S.CANCELLED
    assert await engine.history(acme, job_id) == ["submitted", "queued", "cancelled"]
    await engine.check_counts()


async def test_cancel_then_promote_passes_the_job_by(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme, delay_s=10.0)
    late = await engine.later(100)
    async with first(engine) as cancelling:
        await jobs.cancel(cancelling.db, acme, job_id, grace_s=1)
        assert await cancelling.meet(lambda: upkeep.promote(engine.db, now=late), waits=False) == {}
    assert await engine.status(acme, job_id) is S.CANCELLED
    await engine.check_counts()


# ------------------------------------------------------------------------------------------------- unpark x claim


async def test_settle_of_a_key_holds_its_claims_off_and_never_over_its_limit(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request(concurrency_key="k")] * 3)
    lease = await engine.claim_one()
    async with first(engine) as settling:
        await leases.settle(settling.db, [settlement(lease, outcome())])
        assert await settling.meet(engine.claim, waits=False) == []
    assert len(await engine.claim()) == 1
    await engine.check_counts()


async def test_claim_beside_a_settle_of_the_key_parks_nothing_that_the_settle_would_have_let_in(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme, concurrency_key="k")
    lease = await engine.claim_one()
    await engine.submit(acme, concurrency_key="k")  # due, not parked: nobody has looked at it yet
    async with first(engine) as settling:
        await leases.settle(settling.db, [settlement(lease, outcome())])
        assert await settling.meet(engine.claim, waits=False) == []
    assert len(await engine.claim()) == 1


# ------------------------------------------------------------------------------------------- the same settle twice


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
        assert isinstance(await claiming.meet(cancel(engine, acme, digest("nobody")), waits=False), NotFound)
