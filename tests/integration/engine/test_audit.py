"""The audit trail is only added to, and an act and its row are in one transaction."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from jobqueue.domain.audit import FIELD_BYTES_MAX, SYSTEM, Action, ActorKind, AuditFilter, Author, Target
from jobqueue.domain.errors import JobQueueError, NotFound, WrongState
from jobqueue.domain.lifecycle import Status
from jobqueue.operations import audit, jobs, tenants, upkeep
from jobqueue.operations.jobs import Caller
from jobqueue.store import wall
from jobqueue.store.pool import Transaction
from tests.engine import Engine, OneConnection, any_id
from tests.integration.engine.test_plans import telling

DAY_S = 86_400.0
KEY = Author(ActorKind.KEY, "k-1", "a key", "r-1", "c-1", "192.0.2.7")


async def rows(engine: Engine) -> list[Any]:
    """All rows but those of tenants the tests make, oldest first."""
    return list(await engine.raw.fetch("SELECT * FROM jobqueue.audit WHERE action <> 'tenant.created' ORDER BY at"))


async def record(engine: Engine, tenant_id: int, target: str, *, by: Author = KEY, data: dict[str, Any] | None = None) -> None:
    async def act(transaction: Transaction) -> None:
        await audit.record(transaction, tenant_id, by, Action.QUEUE_CHANGED, Target("queue", target), data)

    await engine.db.in_transaction(act)


async def refused(engine: Engine, text: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with engine.raw.transaction():
            await engine.raw.execute(text)


# ------------------------------------------------------------------------------------------------ only added to


@pytest.mark.parametrize("table", ["audit", "partition", "audit_rest"])
@pytest.mark.parametrize("change", ["UPDATE jobqueue.{} SET actor_id = 'x'", "DELETE FROM jobqueue.{}", "TRUNCATE jobqueue.{}"])
async def test_the_owner_of_the_tables_changes_no_row(engine: Engine, acme: Caller, table: str, change: str) -> None:
    await record(engine, acme.tenant_id, "mail")
    await engine.raw.execute(
        "INSERT INTO jobqueue.audit (audit_id, tenant_id, actor_kind, action, target_kind, data)"
        " VALUES ('00000000-0000-7000-8000-000000000000', 1, 'key', 'a.b', 'job', '{}')"
    )
    name = (await engine.raw.fetchval("SELECT max(tableoid)::regclass::text FROM jobqueue.audit WHERE target_id = 'mail'")).split(".")[-1]
    await refused(engine, change.format(name if table == "partition" else table))
    assert len(await rows(engine)) == 2


@pytest.mark.parametrize("change", ["UPDATE jobqueue.audit SET actor_id = 'x'", "DELETE FROM jobqueue.audit", "TRUNCATE jobqueue.audit"])
async def test_the_role_of_tenants_adds_rows_of_its_own_and_changes_none(engine: Engine, acme: Caller, change: str) -> None:
    async with engine.raw.transaction():
        await engine.raw.execute(wall.settings(acme.tenant_id))
        only = Transaction(engine.raw)
        await audit.record(only, acme.tenant_id, KEY, Action.QUEUE_CHANGED, Target("queue", "mail"))
        assert await engine.raw.fetchval("SELECT count(*) FROM jobqueue.audit WHERE target_id = 'mail'") == 1
        await refused(engine, change)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with engine.raw.transaction():
                await audit.record(only, acme.tenant_id + 1, KEY, Action.QUEUE_CHANGED, Target("queue", "mail"))
    granted = await engine.raw.fetchval(
        "SELECT array_agg(privilege_type::text ORDER BY 1) FROM information_schema.role_table_grants"
        " WHERE grantee = 'jobqueue_tenant' AND table_name LIKE 'audit%'"
    )
    assert granted == ["INSERT", "SELECT"]


async def test_the_role_of_tenants_sees_no_other_tenant_s_rows_and_none_of_nobody_s(engine: Engine, acme: Caller) -> None:
    other = await engine.tenant("other")
    for tenant_id in (acme.tenant_id, other.tenant_id, 0):
        await record(engine, tenant_id, f"of {tenant_id}")
    async with engine.raw.transaction():
        await engine.raw.execute(wall.settings(acme.tenant_id))
        seen = await engine.raw.fetch("SELECT DISTINCT tenant_id FROM jobqueue.audit")
    assert [row[0] for row in seen] == [acme.tenant_id]


async def test_a_month_goes_when_it_is_over_for_longer_than_rows_are_kept_and_no_other(engine: Engine, acme: Caller) -> None:
    now = datetime(2031, 5, 15, 12, tzinfo=UTC)
    assert await audit.store.make_months(engine.db, months=3, now=now) == 3
    assert await audit.store.make_months(engine.db, months=3, now=now) == 0
    for at in (now, now + timedelta(days=31)):
        await engine.raw.execute(
            "INSERT INTO jobqueue.audit (audit_id, tenant_id, at, actor_kind, action, target_kind, target_id, data)"
            " VALUES (jobqueue.id_at($1), $2, $1, 'key', 'a.b', 'job', 'x', '{}')",
            at,
            acme.tenant_id,
        )
    june = datetime(2031, 6, 1, tzinfo=UTC)

    async def drop(moment: datetime) -> list[str]:
        dropped = []
        while (name := await upkeep.drop_oldest_audit_month(engine.db, kept_s=30 * DAY_S, now=moment)) is not None:
            dropped.append(name)
        return dropped

    assert "audit_203105" not in await drop(june + timedelta(days=30))
    assert await drop(june + timedelta(days=30, seconds=1)) == ["audit_203105"]
    assert [row["at"] for row in await rows(engine) if row["action"] == "a.b"] == [now + timedelta(days=31)]
    await upkeep.make_audit_months(engine.db)  # for the tests after this one


async def test_the_default_partition_goes_as_a_whole_once_its_newest_row_is_old_and_is_there_again(engine: Engine, acme: Caller) -> None:
    moment = datetime(2041, 5, 15, tzinfo=UTC)  # a month nobody made
    insert = (
        "INSERT INTO jobqueue.audit (audit_id, tenant_id, at, actor_kind, action, target_kind, data)"
        " VALUES (jobqueue.id_at($1), $2, $1, 'key', 'a.b', 'job', '{}')"
    )
    await engine.raw.execute(insert, moment, acme.tenant_id)

    async def drop(now: datetime) -> str | None:
        name: str | None = "audit_0"
        while name is not None and name != "audit_rest":
            name = await upkeep.drop_oldest_audit_month(engine.db, kept_s=DAY_S, now=now)
        return name

    assert await drop(moment + timedelta(days=1)) is None
    assert await drop(moment + timedelta(days=1, seconds=1)) == "audit_rest"
    await engine.raw.execute(insert, moment, acme.tenant_id)
    await refused(engine, "TRUNCATE jobqueue.audit_rest")
    await upkeep.make_audit_months(engine.db)


# ------------------------------------------------------------------------------------------- one transaction


Acting = Callable[[OneConnection, Caller, UUID], Awaitable[Any]]
ACTS: dict[str, Acting] = {
    "cancel": lambda db, caller, job_id: jobs.cancel(db, caller, job_id, grace_s=1.0),
    "patch": lambda db, caller, job_id: jobs.patch(db, caller, job_id, priority=0),
}


@pytest.mark.parametrize("act", ACTS)
async def test_an_act_that_is_rolled_back_leaves_no_row(engine: Engine, acme: Caller, act: str) -> None:
    job_id = await engine.submit(acme)
    connection = await engine.connect()
    transaction = connection.transaction()
    await transaction.start()
    await ACTS[act](OneConnection(connection), acme, job_id)
    assert await connection.fetchval("SELECT count(*) FROM jobqueue.audit WHERE target_id = $1", str(job_id)) == 1
    await transaction.rollback()
    connection.terminate()
    assert await rows(engine) == []
    assert await engine.history(acme, job_id) == ["submitted"]


async def test_an_act_whose_row_cannot_be_written_does_not_happen(engine: Engine, acme: Caller) -> None:
    job_id = await engine.submit(acme)
    await engine.raw.execute("ALTER TABLE jobqueue.audit ADD CONSTRAINT never CHECK (action <> 'job.cancelled')")
    try:
        with pytest.raises(asyncpg.CheckViolationError):
            await jobs.cancel(engine.db, acme, job_id, grace_s=1.0)
    finally:
        await engine.raw.execute("ALTER TABLE jobqueue.audit DROP CONSTRAINT never")
    assert await engine.status(acme, job_id) is Status.QUEUED
    await jobs.cancel(engine.db, acme, job_id, grace_s=1.0)
    assert [row["action"] for row in await rows(engine)] == ["job.cancelled"]


async def test_of_two_retries_at_once_one_leaves_a_row(engine: Engine, acme: Caller) -> None:
    job_id = await engine.dlq(acme)
    tries = [jobs.retry(engine.db, acme, job_id, is_reset=True) for _ in range(6)]
    answers = [one async for one in _as_they_end(tries)]
    assert sum(not isinstance(one, JobQueueError) for one in answers) == 1
    assert [row["action"] for row in await rows(engine)] == ["job.retried"]


async def _as_they_end(tries: list[Any]) -> Any:
    for task in asyncio.as_completed(tries):
        try:
            yield await task
        except JobQueueError as refusal:
            yield refusal


async def test_a_refused_act_leaves_no_row(engine: Engine, acme: Caller) -> None:
    done = await engine.succeeded(acme)
    for job_id, refusal in ((done, WrongState), (any_id(), NotFound)):
        with pytest.raises(refusal):
            await jobs.cancel(engine.db, acme, job_id, grace_s=1.0)
        with pytest.raises(refusal):
            await jobs.force_success(engine.db, acme, job_id, result_json=None, reason=None, by="x")
    assert await rows(engine) == []


# ---------------------------------------------------------------------------------------------------- content


async def test_a_tenant_s_new_limits_stand_beside_its_old_ones(engine: Engine, acme: Caller) -> None:
    await tenants.change(engine.db, "acme", {"max_concurrent": 7, "rate_per_minute": 50, "plan": "pro"}, by=KEY)
    await tenants.change(engine.db, "acme", {"max_concurrent": None, "rate_per_minute": 50}, by=KEY)
    first, second = await rows(engine)
    limits = {"max_concurrent": {"old": None, "new": 7}, "rate_per_minute": {"old": None, "new": 50}}
    assert {name: value for name, value in json.loads(first["data"]).items() if name != "weight"} == limits
    assert second["data"] == '{"max_concurrent":{"old":7,"new":null}}'
    assert (second["tenant_id"], second["target_id"], second["actor_id"], second["address"]) == (acme.tenant_id, "acme", "k-1", "192.0.2.7")


async def test_a_field_that_is_too_long_is_replaced_by_its_size(engine: Engine, acme: Caller) -> None:
    await record(engine, acme.tenant_id, "mail", data={"long": "x" * FIELD_BYTES_MAX, "short": "y" * (FIELD_BYTES_MAX - 2)})
    (row,) = await rows(engine)
    assert row["data"] == f'{{"long":{{"left_out_bytes":{FIELD_BYTES_MAX + 2}}},"short":"{"y" * (FIELD_BYTES_MAX - 2)}"}}'


async def test_an_act_of_a_program_without_a_credential_is_the_system_s(engine: Engine, acme: Caller) -> None:
    await jobs.cancel(engine.db, acme, await engine.submit(acme), grace_s=1.0)
    (row,) = await rows(engine)
    assert acme.by is SYSTEM
    assert (row["actor_kind"], row["actor_id"], row["request_id"]) == ("system", None, None)


# ------------------------------------------------------------------------------------------------------- pages

SEED = """
INSERT INTO jobqueue.audit (audit_id, tenant_id, actor_kind, actor_id, action, target_kind, target_id, data)
SELECT jobqueue.new_id(), 1 + n % 3, 'key', 'k-' || n % 50,
  CASE WHEN n % 5000 = 7 THEN 'api_key.deleted' ELSE 'job.cancelled' END, 'job', 't-' || n, '{}'
FROM generate_series(1, 12000) n
"""


async def test_a_filtered_page_reads_the_rows_it_shows_and_few_more(engine: Engine) -> None:
    await engine.raw.execute(SEED, timeout=60)
    await engine.raw.execute("ANALYZE jobqueue.audit", timeout=60)
    filters = {
        "none": AuditFilter(),
        "actor": AuditFilter(actor="k-7"),
        "action": AuditFilter(action=Action.API_KEY_DELETED),
        "target": AuditFilter(target="t-7"),
        "since": AuditFilter(since=datetime.now(UTC) - timedelta(hours=1)),
    }
    async with telling(engine) as plans:
        for name, asked in filters.items():
            plans.nodes()
            found = await audit.page(engine.db, 2, asked, before=None, limit=20)
            read = [node for node in plans.nodes() if node.table.startswith("audit")]
            assert found.rows, name
            assert not [node for node in read if node.kind == "Seq Scan" and node.rows], name
            assert sum(node.rows for node in read if "Scan" in node.kind) <= 100, (name, read)
        everybody_s = await audit.page(engine.db, None, AuditFilter(), before=None, limit=20, is_operator=True)
        assert len(everybody_s.rows) == 20
        assert sum(node.rows for node in plans.nodes() if "Scan" in node.kind and node.table.startswith("audit")) <= 100


async def test_a_rare_match_among_all_tenants_is_found_page_by_page_though_a_page_reads_a_bounded_number(engine: Engine) -> None:
    await engine.raw.execute(SEED, timeout=60)
    before, found, pages = None, 0, 0
    while True:
        page = await audit.page(engine.db, None, AuditFilter(target="t-1"), before=before, limit=20, is_operator=True)
        found, pages, before = found + len(page.rows), pages + 1, page.next_before
        if before is None:
            break
    assert (found, pages) == (1, 2)
