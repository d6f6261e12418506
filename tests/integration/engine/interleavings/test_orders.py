"""Batches of the same jobs in opposite orders, on two connections that do not try again: nobody ends in a deadlock."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from jobqueue.domain.lease import Beat
from jobqueue.operations import jobs, leases
from jobqueue.operations.intake import Intake, SubmitDefaults
from jobqueue.operations.jobs import Caller
from jobqueue.store.pool import Database
from tests.engine import WAIT_S_MAX, Engine, OneConnection, outcome, request, settlement

JOBS, ROUNDS = 300, 3
SUBMITTED = 3_000
"""A batch of few has locked all of its keys before the other one has begun."""


async def opposed(engine: Engine, what: Sequence[Any], act: Callable[[Database, list[Any]], Awaitable[object]]) -> None:
    """Do an act on all of it from both ends at once. Raises what the database raised, a deadlock as such."""
    connections = [await engine.connect() for _ in range(2)]
    try:
        orders = (list(what), list(what)[::-1])
        await asyncio.gather(*(act(OneConnection(connection), order) for connection, order in zip(connections, orders, strict=True)))
    finally:
        for connection in connections:
            connection.terminate()


async def test_settles_in_opposite_orders_do_not_deadlock(engine: Engine, acme: Caller) -> None:
    for _ in range(ROUNDS):
        await engine.submit_all(acme, [request()] * JOBS)
        ended = [settlement(lease, outcome()) for lease in await engine.claim(JOBS)]
        await opposed(engine, ended, leases.settle)
    await engine.check_counts()


async def test_heartbeats_in_opposite_orders_do_not_deadlock(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request()] * JOBS)
    beats = [Beat(lease.job_id, lease.token, 0.0) for lease in await engine.claim(JOBS)]
    for _ in range(ROUNDS):
        await opposed(engine, beats, leases.heartbeat)


async def test_submits_in_opposite_orders_do_not_deadlock(engine: Engine, acme: Caller) -> None:
    defaults = SubmitDefaults(max_attempts=3, expires_in_s=None, max_queued=1_000_000)

    async def store(db: Database, asked: list[Any]) -> None:
        intake = Intake(db, engine.names, defaults, wake=lambda lane: None)
        await intake.store_together(asked, lock_timeout_ms=5_000, deadline_s=WAIT_S_MAX)

    for turn in range(ROUNDS):
        requests = [request(key=f"{turn}-{number}") for number in range(SUBMITTED)]
        asked = await Intake(engine.db, engine.names, defaults, wake=lambda lane: None).number(acme.tenant_id, requests)
        await opposed(engine, asked, store)
    await engine.check_counts()


async def test_cancels_and_retries_of_many_in_opposite_orders_do_not_deadlock(engine: Engine, acme: Caller) -> None:
    ids = [one.job_id for one in await engine.submit_all(acme, [request()] * JOBS)]
    await opposed(engine, ids, lambda db, order: jobs.store.cancel_many(db, acme.tenant_id, order, grace_s=1.0))
    await opposed(engine, ids, lambda db, order: jobs.store.retry_many(db, acme.tenant_id, order))
    await engine.check_counts()
