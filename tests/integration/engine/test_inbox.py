"""jobqueue.submit(...) inside a caller's own transaction: there when it commits, never when it rolls back, and nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest

from jobqueue.domain.errors import QueueFull, SubmitInProgress
from jobqueue.domain.job import JobRequest
from jobqueue.domain.lifecycle import Status
from jobqueue.operations import upkeep
from jobqueue.operations.inbox import Inbox
from jobqueue.operations.intake import SubmitDefaults
from jobqueue.operations.jobs import Caller
from jobqueue.protocol.canonical import hash_key
from tests.engine import Engine, request

DEFAULTS = SubmitDefaults(max_attempts=3, expires_in_s=None, max_queued=1_000_000)
FIELDS: dict[str, Any] = {
    "data": '{"b": 1.5, "a": ["ü"]}',
    "queue": "images",
    "priority": "high",
    "max_attempts": 7,
    "timeout_seconds": 60,
    "expires_in_seconds": 3600.0,
    "concurrency_key": "user-1",
    "tags": ["x", "ü 1"],
    "metadata": '{"k": [1]}',
    "correlation_id": "order 17",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


async def call(connection: Any, **fields: Any) -> UUID:
    """SELECT jobqueue.submit(...) with named arguments."""
    fields = {"tenant": "acme", "job_type": "t", **fields}
    arguments = ", ".join(f"{name} => ${position}" for position, name in enumerate(fields, 1))
    job_id: UUID = await connection.fetchval(f"SELECT jobqueue.submit({arguments})", *fields.values())
    return job_id


def keyed(key: str) -> JobRequest:
    """A request whose key is hashed as the API and the function do."""
    return replace(request(key=key), key_hash=hash_key(key))


def inbox_of(engine: Engine, defaults: SubmitDefaults = DEFAULTS) -> Inbox:
    return Inbox(engine.db, defaults, wake=engine.woken.append)


@asynccontextmanager
async def connected(engine: Engine) -> AsyncIterator[Any]:
    connection = await engine.connect()
    try:
        yield connection
    finally:
        connection.terminate()


async def test_a_committed_job_is_moved_on_with_every_field(engine: Engine, acme: Caller) -> None:
    job_id = await call(engine.raw, idempotency_key="k", **FIELDS)
    assert await inbox_of(engine).receive() == 1
    job = await engine.get(acme, job_id)
    assert (job.status, job.queue, job.priority, job.max_attempts, job.concurrency_key) == (Status.QUEUED, "images", "high", 7, "user-1")
    assert (job.tags, job.idempotency_key, job.correlation_id, job.trace_id) == (["x", "ü 1"], "k", "order 17", FIELDS["traceparent"][3:35])
    assert orjson.loads(job.data_json or "") == {"b": 1.5, "a": ["ü"]}
    assert orjson.loads(job.metadata_json or "") == {"k": [1]}
    assert await engine.history(acme, job_id) == ["submitted"]
    assert len(engine.woken) == 1
    assert await inbox_of(engine).receive() == 0
    (lease,) = await engine.claim(queues=["images"])
    assert (lease.job_id, lease.timeout_s) == (job_id, 60)
    await engine.check_counts()


async def test_a_rolled_back_job_never_was(engine: Engine, acme: Caller) -> None:
    transaction = engine.raw.transaction()
    await transaction.start()
    await call(engine.raw, idempotency_key="k")
    await transaction.rollback()
    assert await inbox_of(engine).receive() == 0
    first = await call(engine.raw, idempotency_key="k")
    assert await inbox_of(engine).receive() == 1
    assert (await engine.get(acme, first)).status is Status.QUEUED


async def test_an_open_transaction_holds_up_nobody_else(engine: Engine, acme: Caller) -> None:
    async with connected(engine) as caller, engine.submitter() as submitter, caller.transaction():
        held = await call(caller, job_type="new-type", queue="new-queue", concurrency_key="new-key", idempotency_key="k")
        fields = {"queue": "new-queue", "concurrency_key": "new-key"}
        async with asyncio.timeout(10):
            other = await submitter.submit(acme.tenant_id, request("new-type", **fields))
        assert await inbox_of(engine).receive() == 0
        (lease,) = await engine.claim(types=["new-type"], queues=["new-queue"])
        assert lease.job_id == other.job_id
        await engine.settle(lease)
        locks = "SELECT count(*) FROM pg_locks WHERE relation = 'jobqueue.event'::regclass AND pid = $1"
        assert await engine.raw.fetchval(locks, caller.get_server_pid()) == 0
        with pytest.raises(SubmitInProgress):
            await submitter.submit(acme.tenant_id, keyed("k"))
    assert await inbox_of(engine).receive() == 1
    assert (await engine.get(acme, held)).status is Status.QUEUED


async def test_the_same_key_is_the_same_job_and_other_fields_are_refused(engine: Engine, acme: Caller) -> None:
    first = await call(engine.raw, idempotency_key="k", data='{"a": 1, "b": 2}')
    assert await call(engine.raw, idempotency_key="k", data='{"b": 2, "a": 1}', queue="default", tags=[]) == first
    await inbox_of(engine).receive()
    assert await call(engine.raw, idempotency_key="k", data='{"a": 1, "b": 2}') == first
    with pytest.raises(asyncpg.UniqueViolationError, match="idempotency key") as refusal:
        await call(engine.raw, idempotency_key="k", data='{"a": 2}')
    assert refusal.value.detail == f"job {first}"
    assert await inbox_of(engine).receive() == 0


async def test_two_transactions_with_one_key_make_one_job(engine: Engine, acme: Caller) -> None:
    async with connected(engine) as one, connected(engine) as two:
        transaction = one.transaction()
        await transaction.start()
        first = await call(one, idempotency_key="k")
        second = asyncio.create_task(call(two, idempotency_key="k"))
        await transaction.commit()
        assert await second == first
    assert await inbox_of(engine).receive() == 1


@pytest.mark.parametrize(
    ("fields", "column"),
    [
        ({"job_type": "no spaces"}, "job_type"),
        ({"job_type": None}, "job_type"),
        ({"queue": "no:colons"}, "queue"),
        ({"priority": "urgent"}, "priority"),
        ({"data": "[]"}, "data"),
        ({"data": '{"a": [1e400]}'}, "data"),
        ({"data": '{"a": "' + "x" * 262_144 + '"}'}, "data"),
        ({"metadata": "1"}, "metadata"),
        ({"idempotency_key": "ü"}, "idempotency_key"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"delay_seconds": -1.0}, "delay_seconds"),
        ({"delay_seconds": float("nan")}, "delay_seconds"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"expires_in_seconds": 0.0}, "expires_in_seconds"),
        ({"concurrency_key": ""}, "concurrency_key"),
        ({"tags": [""]}, "tags"),
        ({"tags": ["x"] * 51}, "tags"),
        ({"correlation_id": "\n"}, "correlation_id"),
        ({"traceparent": "x"}, "traceparent"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_wrong_field_is_refused_by_its_name(engine: Engine, acme: Caller, fields: dict[str, Any], column: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=column) as refusal:
        await call(engine.raw, **fields)
    assert refusal.value.column_name == column
    assert await engine.raw.fetchval("SELECT count(*) FROM jobqueue.inbox") == 0


async def test_what_text_cannot_hold_and_unknown_tenants_are_refused(engine: Engine, acme: Caller) -> None:
    with pytest.raises(asyncpg.UntranslatableCharacterError):
        await call(engine.raw, data='{"a": "\\u0000"}')
    with pytest.raises(asyncpg.UndefinedObjectError, match="no tenant 'nobody'"):
        await call(engine.raw, tenant="nobody")


async def test_a_time_is_waited_for_and_one_that_has_come_is_due(engine: Engine, acme: Caller) -> None:
    later = await call(engine.raw, delay_seconds=60.0)
    past = await call(engine.raw, delay_seconds=0.0)
    come = await call(engine.raw, delay_seconds=0.001)
    await engine.raw.execute("SELECT pg_sleep(0.005)")
    assert await inbox_of(engine).receive() == 3
    assert [(await engine.get(acme, job_id)).status for job_id in (later, past, come)] == ["scheduled", "queued", "queued"]
    await engine.check_counts()


async def test_defaults_of_the_settings_and_the_queue_hold(engine: Engine, acme: Caller) -> None:
    await engine.queue(acme, "own", max_attempts=9)
    plain, own = await call(engine.raw), await call(engine.raw, queue="own")
    await inbox_of(engine, SubmitDefaults(max_attempts=5, expires_in_s=3600.0, max_queued=0)).receive()
    assert [(await engine.get(acme, job_id)).max_attempts for job_id in (plain, own)] == [5, 9]
    assert await engine.raw.fetchval("SELECT count(*) FROM jobqueue.ready WHERE start_by IS NOT NULL") == 2


async def test_a_tenant_at_its_limit_is_refused(engine: Engine) -> None:
    caller = await engine.tenant("small", max_queued=2)
    for _ in range(2):
        await call(engine.raw, tenant="small")
    await inbox_of(engine).receive()
    with pytest.raises(asyncpg.ConfigurationLimitExceededError):
        await call(engine.raw, tenant="small")
    async with engine.submitter() as submitter:
        with pytest.raises(QueueFull):
            await submitter.submit(caller.tenant_id, request())


async def test_several_receivers_at_once_move_each_job_once(engine: Engine, acme: Caller) -> None:
    await engine.raw.execute("SELECT jobqueue.submit('acme', 't', queue => 'q' || n % 5) FROM generate_series(1, 1000) n")
    inbox = inbox_of(engine)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(inbox.receive(limit=300)) for _ in range(6)]
    assert sum(task.result() for task in tasks) + await inbox.receive(limit=1000) == 1000
    assert await engine.raw.fetchval("SELECT count(*) FROM jobqueue.job") == 1000
    await engine.check_counts()


async def test_an_application_s_role_may_call_it_once_it_is_granted_and_see_nothing_else(engine: Engine, acme: Caller) -> None:
    role = f"app_{acme.tenant_id}_{engine.raw.get_server_pid()}"
    async with connected(engine) as connection:
        await connection.execute(f'CREATE ROLE "{role}"; GRANT USAGE ON SCHEMA jobqueue TO "{role}"')
        try:
            await connection.execute(f'SET ROLE "{role}"')
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await call(connection)
            await connection.execute(f'RESET ROLE; GRANT EXECUTE ON FUNCTION jobqueue.submit TO "{role}"; SET ROLE "{role}"')
            assert await call(connection)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch("SELECT FROM jobqueue.inbox")
        finally:
            await connection.execute(f'RESET ROLE; DROP OWNED BY "{role}"; DROP ROLE "{role}"')
    assert await inbox_of(engine).receive() == 1


async def test_keys_of_jobs_in_the_inbox_are_not_swept(engine: Engine, acme: Caller) -> None:
    await call(engine.raw, idempotency_key="k")
    assert (await upkeep.sweep_idempotency(engine.db, kept_s=-1.0)).swept == 0
