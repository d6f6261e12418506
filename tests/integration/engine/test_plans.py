"""The statements keep the plans they were designed for, on 50,000 seeded rows: by index, whatever the statistics say.

Functions hide their plans, so auto_explain tells them: every statement a call ran, with the rows it really touched.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from jobqueue.domain.lease import Beat
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.operations import jobs, leases, upkeep
from jobqueue.operations.jobs import Caller
from jobqueue.store import feed as feed_store
from jobqueue.store import measures as measures_store
from jobqueue.store.pool import Transaction
from tests.engine import Engine, OneConnection, open_engine, outcome, request, settlement
from tests.postgres import Databases, migrate

JOBS = 50_000
SMALL = {"tenant", "plan", "queue", "tenant_queue", "job_type", "worker", "concurrency_key", "leader", "event_seq"}
"""Tables of a few rows, where a scan is the right plan."""

SEED = f"""
INSERT INTO jobqueue.job_type (name) SELECT 'type-' || n FROM generate_series(1, 20) n;
INSERT INTO jobqueue.queue (name) VALUES ('default');
CREATE TEMP TABLE seeded AS
  SELECT n, jobqueue.new_id() AS job_id, 1 + n / 10 % 4 AS tenant_id, 1 + n / 40 % 20 AS type_id, n % 10 AS place,
    clock_timestamp() - n * interval '1 ms' AS at
  FROM generate_series(1, {JOBS}) n;
INSERT INTO jobqueue.job (tenant_id, job_id, queue_id, type_id, priority, max_attempts, data, idempotency_key)
  SELECT tenant_id, job_id, 1, type_id, 2, 3, '{{}}', 'k-' || n FROM seeded;
INSERT INTO jobqueue.idempotency SELECT tenant_id, md5('k-' || n)::uuid, md5('r')::uuid, job_id FROM seeded;
INSERT INTO jobqueue.event (tenant_id, job_id, type) SELECT tenant_id, job_id, 'submitted' FROM seeded;
INSERT INTO jobqueue.ready
  SELECT at, job_id, 1, type_id, tenant_id, 2, 2, 0, 3, 0, NULL, at + interval '1 day' FROM seeded WHERE place < 3;
INSERT INTO jobqueue.concurrency_key (tenant_id, queue_id, name) SELECT 1 + n % 4, 1, 'key-' || n FROM generate_series(0, 99) n;
INSERT INTO jobqueue.parked
  SELECT at, job_id, 1, type_id, tenant_id, 6, 2, 0, 3, 0, 1 + n % 100, at + interval '1 day' FROM seeded WHERE place = 3;
INSERT INTO jobqueue.scheduled
  SELECT at, job_id, 1, type_id, tenant_id, 2, 2, 0, 3, 0, NULL, at + interval '1 day', at + interval '1 hour', 'asked'
  FROM seeded WHERE place = 4;
INSERT INTO jobqueue.lease (job_id, token, claim_seq, expires_at, deadline_at, sort_at, lease_s, queue_id, type_id, tenant_id,
    worker_id, band, priority, attempt, attempts_max, crashes)
  SELECT job_id, gen_random_uuid(), nextval('jobqueue.claim_seq'), at + interval '1 day', at + interval '1 day', at, 30, 1,
    type_id, tenant_id, 1, 2, 2, 1, 3, 0
  FROM seeded WHERE place = 5;
INSERT INTO jobqueue.ended SELECT at, job_id, 1, type_id, tenant_id, 2, 2, 1, 3, 0, NULL, NULL, 'dlq' FROM seeded WHERE place = 6;
INSERT INTO jobqueue.outcome (tenant_id, job_id, state, attempt)
  SELECT tenant_id, job_id, CASE place WHEN 6 THEN 'dlq' ELSE 'succeeded' END, 1
  FROM seeded WHERE place > 5;
INSERT INTO jobqueue.event (tenant_id, job_id, type, leased_at, started_at, token, attempt)
  SELECT tenant_id, job_id, 'succeeded', at, at, gen_random_uuid(), 1 FROM seeded WHERE place > 6;
INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered) SELECT 1 + n % 4, 1, 'queued', 1, 1 FROM generate_series(1, 2000) n;
"""


@dataclass
class Node:
    """One node of a plan."""

    kind: str
    table: str
    index: str
    rows: float


class Plans:
    """The plans of every statement that ran since the last call of `nodes`."""

    def __init__(self, connection: Any) -> None:
        self._told: list[str] = []
        connection.add_log_listener(lambda _, message: self._told.append(message.message))

    def nodes(self) -> list[Node]:
        told, self._told[:] = [text for text in self._told if "plan:" in text], []
        plans = [json.loads(text.split("plan:", 1)[1]) for text in told]
        # forbidden plan nodes cost so much before Postgres 18 that a plan with one would be compiled at each call
        assert not any("JIT" in plan for plan in plans), [plan["Query Text"] for plan in plans if "JIT" in plan]
        return [node for plan in plans if "pg_catalog." not in plan["Query Text"] for node in walk(plan["Plan"])]


def walk(plan: dict[str, Any]) -> Iterator[Node]:
    rows = (plan.get("Actual Rows", 0) + plan.get("Rows Removed by Filter", 0)) * max(1, plan.get("Actual Loops", 0))
    table = plan.get("Relation Name", "").split("_2")[0].removesuffix("_rest")
    yield Node(plan["Node Type"], table, plan.get("Index Name", ""), rows if plan.get("Actual Loops") else 0)
    for child in plan.get("Plans", ()):
        yield from walk(child)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def seeded_template(databases: Databases) -> AsyncIterator[str]:
    """A database with 50,000 jobs in all states, made once a test process."""
    await databases.ensure_template(migrate)
    name = await databases.copy()
    async with open_engine(databases.dsn(name)) as engine:
        for number in range(4):
            await engine.tenant(f"tenant-{number}")
        await engine.worker_id()
        await engine.raw.execute(SEED, timeout=60)
        await engine.raw.execute("ANALYZE", timeout=60)
    yield name
    await databases.drop(name)


@pytest_asyncio.fixture
async def seeded(databases: Databases, seeded_template: str) -> AsyncIterator[tuple[Engine, Caller, Plans]]:
    """The seeded jobs, and a connection that tells its plans."""
    name = await databases.copy(seeded_template)
    async with open_engine(databases.dsn(name)) as engine, telling(engine) as plans:
        yield engine, Caller(1, "tenant-0"), plans
    await databases.drop(name)


@asynccontextmanager
async def telling(engine: Engine) -> AsyncIterator[Plans]:
    """Have the engine use one connection only, which tells its plans."""
    connection = await asyncpg.connect(engine.dsn, timeout=30)
    await connection.execute(
        "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;"
        "SET auto_explain.log_analyze = on; SET auto_explain.log_format = json; SET auto_explain.log_level = notice;"
        "SET auto_explain.log_timing = off; SET auto_explain.log_triggers = off"
    )
    plans = Plans(connection)
    engine.db = OneConnection(connection)
    engine.names._db = engine.db
    yield plans
    connection.terminate()


Act = Callable[[Engine, Caller], Awaitable[Any]]


async def some(engine: Engine, table: str, caller: Caller, count: int = 10) -> list[Any]:
    return list(await engine.raw.fetch(f"SELECT * FROM jobqueue.{table} WHERE tenant_id = $1 LIMIT {count}", caller.tenant_id))


async def submit(engine: Engine, caller: Caller) -> None:
    async with engine.submitter() as submitter:
        numbers = [(await submitter._intake.number(caller.tenant_id, [request("type-1", key=f"new-{number}")]))[0] for number in range(20)]
        await jobs.store.submit(engine.db, numbers, default_max_attempts=3, lock_timeout_ms=100, deadline_s=5)
        await jobs.store.find_keys(engine.db, numbers)


async def claim(engine: Engine, caller: Caller) -> None:
    claimer = await engine.claimer(types=["type-1", "type-2", "type-3"])
    assert len(await claimer.claim(jobs_max=100)) == 100


async def claim_capped(engine: Engine, caller: Caller) -> None:
    await engine.raw.execute("UPDATE jobqueue.tenant SET max_concurrent = 1000000")
    await engine.queue(caller, max_concurrent=1_000_000)
    await claim(engine, caller)


async def heartbeat(engine: Engine, caller: Caller) -> None:
    rows = await some(engine, "lease", caller)
    statuses = await leases.heartbeat(engine.db, [Beat(row["job_id"], row["token"], 0.0) for row in rows])
    assert set(statuses) == {"ok"}


async def settle(engine: Engine, caller: Caller) -> None:
    held = await engine.claim(12, types=["type-1"])
    kinds = [OutcomeKind.SUCCEEDED, OutcomeKind.FAILED, OutcomeKind.RELEASED]
    batch = [settlement(lease, outcome(kinds[place % 3])) for place, lease in enumerate(held)]
    await leases.settle(engine.db, batch)
    assert {one.status for one in await leases.settle(engine.db, batch)} == {"replayed"}


async def get(engine: Engine, caller: Caller) -> None:
    for table in ("ready", "parked", "lease", "outcome"):
        (row,) = await some(engine, table, caller, 1)
        await engine.get(caller, row["job_id"])


async def events(engine: Engine, caller: Caller) -> None:
    (row,) = await some(engine, "outcome", caller, 1)
    assert len((await jobs.events(engine.db, caller, row["job_id"])).events) >= 1


async def cancel(engine: Engine, caller: Caller) -> None:
    for table in ("ready", "parked", "scheduled", "lease"):
        (row,) = await some(engine, table, caller, 1)
        await jobs.cancel(engine.db, caller, row["job_id"], grace_s=1)


async def retry(engine: Engine, caller: Caller) -> None:
    (dead,) = await some(engine, "ended", caller, 1)
    done = await engine.raw.fetchval(
        "SELECT job_id FROM jobqueue.outcome WHERE tenant_id = $1 AND state = 'succeeded' LIMIT 1", caller.tenant_id
    )
    for job_id in (dead["job_id"], done):
        await jobs.retry(engine.db, caller, job_id, is_reset=True)


async def promote(engine: Engine, caller: Caller) -> None:
    due = await engine.raw.fetchval("SELECT run_at FROM jobqueue.scheduled ORDER BY run_at OFFSET 9 LIMIT 1")
    assert sum((await upkeep.promote(engine.db, limit=100, now=due)).values()) == 10


async def expire(engine: Engine, caller: Caller) -> None:
    due = await engine.raw.fetchval("SELECT start_by FROM jobqueue.ready ORDER BY start_by OFFSET 9 LIMIT 1")
    assert 1 <= await upkeep.expire(engine.db, limit=100, now=due) <= 30


async def measure_ages(engine: Engine, caller: Caller) -> None:
    (row,) = await measures_store.oldest(engine.db, lanes_max=1_000)
    assert row["age_s"] > 0


async def tail(engine: Engine, caller: Caller) -> None:
    newest = await feed_store.newest(engine.db)
    found = await feed_store.events(engine.db, [1, 2], seq_after=newest - 1_000, seq_last=newest, limit=1_000)
    assert 300 <= len(found) <= 700


async def tail_jobs(engine: Engine, caller: Caller) -> None:
    (row,) = await some(engine, "outcome", caller, 1)
    newest = await feed_store.newest(engine.db)
    assert await feed_store.events_of_jobs(engine.db, 1, [row["job_id"]], seq_after=0, seq_last=newest, limit=1_000)


async def changed_since(engine: Engine, caller: Caller) -> None:
    newest = await feed_store.newest(engine.db)
    assert await feed_store.newest_since(Transaction(engine.db._only), 1, seq_after=newest - 100)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("act", "indexes", "rows_max"),
    [
        (submit, {"idempotency_pkey"}, 500),
        (claim, {"ready_claim"}, 3_000),
        (claim_capped, {"ready_claim", "lease_tenant"}, 15_000),
        (heartbeat, {"lease_pkey"}, 500),
        (settle, {"lease_pkey", "event_2_job_id_seq"}, 3_000),
        (get, {"job_2_tenant_id_job_id", "ready_job", "lease_pkey", "outcome_2_tenant_id_state_job_id"}, 4_000),
        (events, {"event_2_job_id_seq"}, 100),
        (cancel, {"ready_job", "scheduled_job", "parked_job", "lease_pkey"}, 500),
        (retry, {"ended_job", "scheduled_job", "outcome_2_tenant_id_state_job_id"}, 500),
        (promote, {"scheduled_due"}, 500),
        (expire, {"ready_start_by"}, 500),
        (measure_ages, {"ready_claim"}, 500),
        (tail, {"event_2_seq", "job_2_tenant_id_job_id"}, 4_000),
        (tail_jobs, {"event_2_job_id_seq"}, 100),
        (changed_since, {"event_2_seq"}, 200),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_statement_reads_by_its_index(seeded: tuple[Engine, Caller, Plans], act: Act, indexes: set[str], rows_max: int) -> None:
    engine, caller, plans = seeded
    await act(engine, caller)
    nodes = plans.nodes()
    assert nodes, "auto_explain told nothing"
    scans = {node.table for node in nodes if node.kind == "Seq Scan" and node.table not in SMALL and node.rows > 0}
    assert scans == set(), "read from end to end"
    used = {family(node.index) for node in nodes if node.index}
    assert indexes <= used
    assert sum(node.rows for node in nodes if node.table) <= rows_max


async def test_plans_made_while_the_tables_were_empty_are_right_when_they_are_full(engine: Engine) -> None:
    caller = await engine.tenant()
    await engine.raw.execute("VACUUM ANALYZE")
    async with open_engine(engine.dsn) as watched, telling(watched) as plans:
        claimer = await watched.claimer()
        await engine.submit(caller)
        (first,) = await claimer.claim(jobs_max=1)
        await watched.settle(first)  # both have made their plans now
        await engine.submit_all(caller, [request() for _ in range(600)])
        claimer.forget()
        held = await claimer.claim(jobs_max=500)
        assert len(held) == 500
        plans.nodes()
        assert len(await claimer.claim(jobs_max=50)) == 50
        await watched.settle_all([(lease, outcome()) for lease in held[:50]])
        assert max(node.rows for node in plans.nodes() if node.table) <= 200


def family(index: str) -> str:
    """The name of an index without the week of its partition."""
    head, _, tail = index.partition("_2")
    return f"{head}_2{tail[7:].removesuffix('_idx').replace('_pkey', '_tenant_id_job_id')}" if tail[:7].isdigit() else index
