"""The recoverer and the leader, stepped: what they believe after a fault, and by whose clock."""

import asyncio
from uuid import uuid4

import pytest

from jobqueue.domain.errors import Unavailable
from jobqueue.operations.jobs import Caller
from jobqueue.reaper.leader import Leader
from jobqueue.reaper.lease_recoverer import LeaseRecoverer
from jobqueue.store.pool import Database
from jobqueue.telemetry.events import LeaseExpired
from tests.engine import Engine, until_somebody_waits
from tests.fake_clock import FakeClock

NEXT_CENTURY_S = 4e9


def recoverer(engine: Engine, clock: FakeClock) -> tuple[LeaseRecoverer, list[object]]:
    told: list[object] = []
    service = LeaseRecoverer(
        engine.db, engine.terms, clock=clock, on_fault=lambda name, error: None, emit=told.append, wake=engine.woken.append
    )
    return service, told


def taken(told: list[object]) -> int:
    return sum(isinstance(event, LeaseExpired) for event in told)


async def lost_job(engine: Engine, caller: Caller) -> None:
    await engine.submit(caller)
    await engine.claim_one()
    await engine.raw.execute("UPDATE jobqueue.lease SET expires_at = '-infinity'")


async def test_recoverer_that_lost_its_connection_spares_every_lease_for_its_length(engine: Engine, acme: Caller, clock: FakeClock) -> None:
    """The holders may have been cut off by the same fault."""
    await lost_job(engine, acme)
    service, told = recoverer(engine, clock)
    await clock.advance(100)
    locker = await engine.connect()
    async with locker.transaction():
        await locker.execute("LOCK TABLE jobqueue.lease IN ACCESS EXCLUSIVE MODE")
        ticking = asyncio.create_task(service.tick())
        cut_off = await until_somebody_waits(engine.raw, on=locker.get_server_pid())
        await engine.raw.execute("SELECT pg_terminate_backend($1)", cut_off)
        with pytest.raises(Unavailable):
            await ticking
    locker.terminate()
    await service.tick()
    assert taken(told) == 0
    await clock.advance(0.5)
    await service.tick()
    assert taken(told) == 1


async def test_lease_is_over_by_the_database_s_clock_and_nobody_else_s(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme)
    await engine.claim_one()
    await engine.raw.execute("UPDATE jobqueue.lease SET expires_at = clock_timestamp() + interval '1 hour'")
    ahead = FakeClock(NEXT_CENTURY_S)
    service, told = recoverer(engine, ahead)
    await ahead.advance(0.5)
    await service.tick()
    assert taken(told) == 0
    await engine.raw.execute("UPDATE jobqueue.lease SET expires_at = clock_timestamp() - interval '1 hour'")
    behind = FakeClock(0.0)
    service, told = recoverer(engine, behind)
    await behind.advance(0.5)
    await service.tick()
    assert taken(told) == 1


async def test_leader_that_cannot_ask_leads_no_more(engine: Engine, clock: FakeClock) -> None:
    db = await Database.open(engine.dsn, size=1, application_name="leader")
    leader = Leader(db, holder=uuid4(), clock=clock, on_fault=lambda name, error: None, emit=lambda event: None)
    await leader.tick()
    assert leader.is_leader
    await db.close()
    with pytest.raises(Unavailable):
        await leader.tick()
    assert not leader.is_leader


async def test_leader_believes_for_less_than_its_term(engine: Engine, clock: FakeClock) -> None:
    leader = Leader(engine.db, holder=uuid4(), clock=clock, on_fault=lambda name, error: None, emit=lambda event: None)
    await leader.tick()
    await clock.advance(8.9)
    assert leader.is_leader
    await clock.advance(0.2)
    assert not leader.is_leader
