"""`jobqueue restored`: a database from a backup is set right once, before anybody works on it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jobqueue.domain.lease import SettleStatus
from jobqueue.domain.lifecycle import Status
from jobqueue.operations import feed, jobs, restored
from jobqueue.operations.database import open_database
from jobqueue.operations.jobs import Caller
from jobqueue.operations.restored import EVENTS_SKIPPED
from tests import programs
from tests.engine import TERMS, Engine, open_engine, outcome

S = Status


@pytest_asyncio.fixture
async def engine(database: str) -> AsyncIterator[Engine]:
    """A database of its own: its event numbers are moved far ahead."""
    async with open_engine(database) as engine:
        yield engine


@pytest_asyncio.fixture
async def acme(engine: Engine) -> Caller:
    return await engine.tenant("acme")


async def test_every_lease_goes_back_without_blame_and_its_token_is_nobodys(engine: Engine, acme: Caller) -> None:
    ids = [await engine.submit(acme) for _ in range(3)]
    leases = await engine.claim()
    await engine.start(leases[0])
    found = await restored.set_right(engine.db, TERMS, is_held=False)
    assert (found.given_back, found.cancelled, found.ready) == (3, 0, 3)
    for job_id in ids:
        job = await engine.get(acme, job_id)
        assert (job.status, job.attempt) == (S.QUEUED, 0)
    assert [settled.status for settled in await engine.settle_all([(lease, outcome()) for lease in leases])] == [
        SettleStatus.LEASE_LOST
    ] * 3
    again = await engine.claim()
    assert {lease.standing.crashes for lease in again} == {0}
    assert not {lease.token for lease in again} & {lease.token for lease in leases}
    assert {settled.status for settled in await engine.settle_all([(lease, outcome()) for lease in leases])} == {SettleStatus.LEASE_LOST}
    assert {settled.status for settled in await engine.settle_all([(lease, outcome()) for lease in again])} == {SettleStatus.SETTLED}
    await engine.check_counts()


async def test_a_lease_asked_to_cancel_ends_cancelled(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    await engine.claim_one()
    await jobs.cancel(engine.db, acme, job_id, grace_s=30.0)
    found = await restored.set_right(engine.db, TERMS, is_held=False)
    assert (found.given_back, found.cancelled) == (0, 1)
    assert await engine.status(acme, job_id) is S.CANCELLED


async def test_old_cursors_start_over_and_new_ones_do_not(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme)
    newest = await engine.raw.fetchval("SELECT last_value FROM jobqueue.event_seq")
    lost = newest + 5_000  # what was told of a future that is no more
    found = await restored.set_right(engine.db, TERMS, is_held=False)
    assert found.events_from == newest + EVENTS_SKIPPED
    assert await feed.is_forgotten(engine.db, newest * 8)
    assert await feed.is_forgotten(engine.db, lost * 8)
    job_id = await engine.submit(acme)
    told = await engine.raw.fetchval("SELECT max(seq) FROM jobqueue.event WHERE job_id = $1", job_id)
    assert not await feed.is_forgotten(engine.db, told * 8)
    assert told * 8 * 1000 < 2**53, "a thousand restores later a number is still one JavaScript reads"


async def test_held_queues_are_paused_and_named_and_others_are_not(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme, queue="mail")
    await engine.submit(acme, queue="mail", scheduled_at=await engine.later(3600))
    await engine.queue(acme, "empty", is_paused=False)
    found = await restored.set_right(engine.db, TERMS, is_held=True)
    assert [(held.tenant, held.queue, held.jobs) for held in found.held] == [("acme", "mail", 2)]
    assert await engine.claim() == []
    paused = await engine.raw.fetch("SELECT q.name FROM jobqueue.tenant_queue s JOIN jobqueue.queue q USING (queue_id) WHERE s.is_paused")
    assert [row["name"] for row in paused] == ["mail"]
    written = await engine.raw.fetch("SELECT action, tenant_id, target_id FROM jobqueue.audit WHERE action <> 'tenant.created' ORDER BY at")
    assert [tuple(row) for row in written] == [("queue.paused", acme.tenant_id, "mail"), ("database.set_right", 0, None)]


async def test_doing_it_again_does_no_harm(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme)
    await engine.claim_one()
    await restored.set_right(engine.db, TERMS, is_held=False)
    found = await restored.set_right(engine.db, TERMS, is_held=False)
    assert (found.given_back, found.ready) == (0, 1)
    await engine.check_counts()


async def test_more_leases_than_one_batch(engine: Engine, acme: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restored, "BATCH", 4)
    for _ in range(10):
        await engine.submit(acme)
    assert len(await engine.claim()) == 10
    assert (await restored.set_right(engine.db, TERMS, is_held=False)).given_back == 10


async def test_command_refuses_while_a_role_is_connected_and_works_without(database: str) -> None:
    settings = {"DATABASE_URL": database}
    role = await open_database(database, size=1, application_name="jobqueue-worker")
    try:
        refused = await asyncio.to_thread(programs.run, "restored", **settings)
    finally:
        await role.close()
    assert refused.returncode == 1
    assert refused.stderr == "jobqueue: roles work on this database: jobqueue-worker (1); stop them first\n"
    async with asyncio.timeout(30):
        while await _is_connected(database):
            await asyncio.sleep(0.05)
    done = await asyncio.to_thread(programs.run, "restored", "--hold", **settings)
    assert done.returncode == 0, done
    assert done.stdout.startswith("given back: 0 leases")


async def _is_connected(database: str) -> bool:
    db = await open_database(database, size=1, application_name="tests")
    try:
        return bool(await restored.connected_roles(db))
    finally:
        await db.close()
