"""What keeps the tables in order: counts, keys, partitions, leadership."""

import asyncio
import contextlib
import random
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from jobqueue.domain.errors import NotFound, WrongState
from jobqueue.domain.lifecycle import Status
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.operations import jobs, upkeep
from jobqueue.operations.jobs import Caller
from jobqueue.operations.upkeep import WALK_START
from jobqueue.store import upkeep as store
from tests.engine import Engine, outcome, request, until_somebody_waits

S = Status
WEEK = timedelta(weeks=1)


# ------------------------------------------------------------------------------------------------------ counts


async def random_act(engine: Engine, caller: Caller, chance: random.Random) -> None:
    match chance.randrange(8):
        case 0 | 1:
            keys = [None, "a", "b"]
            await engine.submit_all(
                caller,
                [request(delay_s=chance.choice([None, 5.0]), concurrency_key=chance.choice(keys), max_attempts=2) for _ in range(5)],
            )
        case 2 | 3:
            held = await engine.claim(chance.randint(1, 10))
            kinds = [*OutcomeKind][:5]
            await engine.settle_all([(lease, outcome(chance.choice(kinds))) for lease in held if chance.random() < 0.8])
        case 4:
            await engine.recover()
        case 5:
            await engine.promote()
        case 6:
            await upkeep.fold_tally(engine.db)
        case 7:
            job_id = await engine.raw.fetchval("SELECT job_id FROM jobqueue.job ORDER BY random() LIMIT 1")
            verb = chance.choice(
                [lambda: jobs.cancel(engine.db, caller, job_id, grace_s=1), lambda: jobs.retry(engine.db, caller, job_id, is_reset=True)]
            )
            with contextlib.suppress(WrongState, NotFound):
                await verb()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_counts_equal_the_rows_after_random_work(engine: Engine, acme: Caller, seed: int) -> None:
    other = await engine.tenant("other")
    chance = random.Random(seed)
    for _ in range(60):
        await random_act(engine, chance.choice([acme, other]), chance)
    await engine.check_counts()
    while await upkeep.fold_tally(engine.db):
        pass
    await engine.check_counts()
    counts = await jobs.count(engine.db, acme)
    assert sum(counts.by_status.values()) == await engine.raw.fetchval(
        "SELECT count(*) FROM jobqueue.job WHERE tenant_id = $1", acme.tenant_id
    )


async def test_counts_name_every_status_and_retries(engine: Engine, acme: Caller) -> None:
    await engine.failed(acme)
    await engine.succeeded(acme)
    await engine.submit_all(acme, [request()] * 2)
    lease, _ = await engine.claim()
    await engine.start(lease)
    counts = await jobs.count(engine.db, acme)
    assert {status: n for status, n in counts.by_status.items() if n} == {S.FAILED: 1, S.SUCCEEDED: 1, S.LEASED: 1, S.RUNNING: 1}
    assert set(counts.by_status) == set(S)
    assert counts.retries == 1


async def test_fold_leaves_one_row_a_group_and_then_writes_nothing(engine: Engine, acme: Caller) -> None:
    for _ in range(4):
        await engine.submit(acme)
    assert await upkeep.fold_tally(engine.db) == 4
    before = await engine.raw.fetch("SELECT ctid, * FROM jobqueue.tally")
    assert [row["n"] for row in before] == [4]
    assert await upkeep.fold_tally(engine.db) == 0
    assert await engine.raw.fetch("SELECT ctid, * FROM jobqueue.tally") == before


async def test_fold_of_more_groups_than_a_batch_comes_to_an_end(engine: Engine, acme: Caller) -> None:
    await engine.raw.execute(
        "INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered) "
        " SELECT 1, q, 'queued', 1, 1 FROM generate_series(1, 30) q, generate_series(1, 3)"
    )
    folds = 0
    while await store.fold_tally(engine.db, limit=10):
        folds += 1
        assert folds < 50
    assert await engine.raw.fetchval("SELECT count(*) FROM jobqueue.tally") == 30
    assert await engine.raw.fetchval("SELECT sum(n) FROM jobqueue.tally") == 90


async def test_folders_at_once_lose_nothing(engine: Engine, acme: Caller) -> None:
    await engine.raw.execute(
        "INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered, ran_s)"
        " SELECT 1, q % 3, 'queued', 1, 1, 0.5 FROM generate_series(1, 3000) q"
    )
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(upkeep.fold_tally(engine.db))
    assert tuple(await engine.raw.fetchrow("SELECT sum(n), sum(entered), sum(ran_s) FROM jobqueue.tally")) == (3000, 3000, 1500)


# -------------------------------------------------------------------------------------------- idempotency keys


async def sweep_all(engine: Engine, *, kept_s: float) -> int:
    position: tuple[int, UUID] | None = WALK_START
    swept = 0
    while position is not None:
        page = await upkeep.sweep_idempotency(engine.db, after=position, kept_s=kept_s)
        position, swept = page.position, swept + page.swept
    return swept


async def test_key_is_swept_only_when_its_job_ended_long_enough_ago(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme, key="waits", delay_s=1e6)
    await engine.succeeded(acme, key="succeeded")
    await engine.dlq(acme, key="dlq")
    await engine.failed(acme, key="failed")
    await engine.submit(acme, key="held")
    await engine.claim_one()
    assert await sweep_all(engine, kept_s=3600.0) == 0
    assert await sweep_all(engine, kept_s=-1.0) == 2
    left = await engine.raw.fetch(
        "SELECT j.idempotency_key FROM jobqueue.idempotency i JOIN jobqueue.job j USING (tenant_id, job_id) ORDER BY 1"
    )
    assert [row[0] for row in left] == ["failed", "held", "waits"]


async def test_key_of_a_job_retried_by_hand_counts_from_its_new_end(engine: Engine, acme: Caller) -> None:
    job_id = await engine.succeeded(acme, key="k")
    await engine.raw.execute("UPDATE jobqueue.outcome SET finished_at = finished_at - interval '2 days'")
    await jobs.retry(engine.db, acme, job_id, is_reset=True)
    assert await sweep_all(engine, kept_s=-1.0) == 0
    await engine.settle(await engine.claim_one())
    assert await sweep_all(engine, kept_s=3600.0) == 0


async def test_swept_key_makes_a_new_job(engine: Engine, acme: Caller) -> None:
    first = await engine.succeeded(acme, key="k")
    await sweep_all(engine, kept_s=-1.0)
    assert await engine.submit(acme, key="k") != first


async def test_walk_goes_through_all_pages(engine: Engine, acme: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "IDEMPOTENCY_PAGE", 7)
    await engine.submit_all(acme, [request(key=f"k-{number}") for number in range(30)])
    await engine.settle_all([(lease, outcome()) for lease in await engine.claim()])
    assert await sweep_all(engine, kept_s=-1.0) == 30


# -------------------------------------------------------------------------------------------------- partitions


async def weeks_of(engine: Engine, parent: str = "job") -> list[str]:
    rows = await engine.raw.fetch(
        "SELECT right(c.relname, 8) AS week FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = $1::regclass AND c.relname !~ 'rest$' ORDER BY 1",
        f"jobqueue.{parent}",
    )
    return [row["week"] for row in rows]


async def test_weeks_are_made_ahead_for_all_three_and_once(engine: Engine) -> None:
    await upkeep.make_partitions(engine.db)
    assert await upkeep.make_partitions(engine.db) == 0
    weeks = await weeks_of(engine)
    assert weeks == await weeks_of(engine, "outcome") == await weeks_of(engine, "event")
    monday = (await engine.now()).date() - timedelta(days=(await engine.now()).weekday())
    for ahead in range(-1, upkeep.PARTITION_WEEKS_AHEAD - 1):
        assert (monday + ahead * WEEK).strftime("%Y%m%d") in weeks


async def test_keepers_at_once_do_not_race(engine: Engine) -> None:
    for parent in ("job", "outcome", "event"):
        for week in (await weeks_of(engine, parent))[-2:]:
            await engine.raw.execute(f"DROP TABLE jobqueue.{parent}_{week}")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(upkeep.make_partitions(engine.db)) for _ in range(4)]
    assert sum(task.result() for task in tasks) == 6


async def test_job_goes_into_its_week_s_partition(engine: Engine, acme: Caller) -> None:
    job_id = await engine.succeeded(acme)
    for parent in ("job", "outcome", "event"):
        found = await engine.raw.fetchval(f"SELECT DISTINCT tableoid::regclass::text FROM jobqueue.{parent} WHERE job_id = $1", job_id)
        assert found.removeprefix("jobqueue.").startswith(f"{parent}_2")


async def far(engine: Engine, weeks: int = 3) -> datetime:
    return await engine.now() + weeks * WEEK


async def drop(engine: Engine, *, kept_s: float = 3600.0, weeks: int = 3) -> list[str]:
    """Drop all that may go, as if so many weeks had passed."""
    dropped = []
    while (week := await upkeep.drop_oldest_partition(engine.db, kept_s=kept_s, now=await far(engine, weeks))) is not None:
        dropped.append(week)
    return dropped


async def week_of(engine: Engine, job_id: UUID) -> str:
    return str(await engine.raw.fetchval("SELECT right(tableoid::regclass::text, 8) FROM jobqueue.job WHERE job_id = $1", job_id))


async def test_week_is_dropped_with_outcomes_events_rests_and_counts(engine: Engine, acme: Caller) -> None:
    job_id = await engine.succeeded(acme)
    await engine.dlq(acme)
    week = await week_of(engine, job_id)
    assert week in await drop(engine)
    assert week not in await weeks_of(engine) + await weeks_of(engine, "outcome") + await weeks_of(engine, "event")
    assert await engine.raw.fetchval("SELECT count(*) FROM jobqueue.ended") == 0
    assert sum((await jobs.count(engine.db, acme)).by_status.values()) == 0
    with pytest.raises(NotFound):
        await engine.get(acme, job_id)
    await engine.check_counts()


@pytest.mark.parametrize("place", ["ready", "scheduled", "lease", "parked"])
async def test_week_with_a_job_that_waits_or_runs_stays(engine: Engine, acme: Caller, place: str) -> None:
    await engine.succeeded(acme)
    match place:
        case "ready":
            job_id = await engine.submit(acme)
        case "scheduled":
            job_id = await engine.submit(acme, delay_s=1e6)
        case "lease":
            job_id = await engine.submit(acme)
            await engine.claim_one()
        case _:
            await engine.submit_all(acme, [request(concurrency_key="k")] * 2)
            await engine.settle(await engine.claim_one(), OutcomeKind.RELEASED, ran_s=None)
            job_id = await engine.raw.fetchval("SELECT job_id FROM jobqueue.parked")
    assert await week_of(engine, job_id) not in await drop(engine)
    assert await engine.get(acme, job_id)
    await engine.check_counts()


async def test_week_whose_last_job_ended_lately_stays(engine: Engine, acme: Caller) -> None:
    job_id = await engine.succeeded(acme)
    assert await week_of(engine, job_id) not in await drop(engine, kept_s=5 * WEEK.total_seconds())


async def test_week_is_dropped_while_jobs_go_in_and_out(engine: Engine, acme: Caller) -> None:
    """The drop needs its week for itself for a moment, and the parents too; nobody who works meanwhile meets an error."""
    await engine.succeeded(acme)
    ago = "jobqueue.id_at(clock_timestamp() - interval '7 days')"
    for table, columns in (
        ("outcome", "tenant_id, state, attempt, finished_at"),
        ("event", "tenant_id, type, attempt"),
        ("job", "tenant_id, queue_id, type_id, priority, max_attempts, data"),
    ):
        values = columns.replace("finished_at", "finished_at - interval '7 days'")
        copy = f"INSERT INTO jobqueue.{table} (job_id, {columns}) SELECT {ago}, {values} FROM jobqueue.{table} LIMIT 1"
        await engine.raw.execute(copy)
    await engine.raw.execute(
        "INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)"
        " SELECT tenant_id, queue_id, 'succeeded', 1, 1 FROM jobqueue.job LIMIT 1"
    )
    week = await engine.raw.fetchval(f"SELECT to_char(date_trunc('week', jobqueue.id_time({ago}) AT TIME ZONE 'UTC'), 'YYYYMMDD')")
    assert await engine.raw.fetchval(f"SELECT count(*) FROM jobqueue.job_{week}") == 1
    done = asyncio.Event()

    async def work() -> int:
        settled = 0
        while not done.is_set():
            await engine.submit_all(acme, [request() for _ in range(10)])
            leases = await engine.claim(jobs_max=10)
            settled += len(await engine.settle_all([(lease, outcome()) for lease in leases]))
        return settled

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        tasks = [group.create_task(work()) for _ in range(3)]
        while week in await weeks_of(engine):
            await upkeep.drop_oldest_partition(engine.db, kept_s=60.0)
        done.set()
    assert sum(task.result() for task in tasks) > 0
    await engine.check_counts()


async def test_retry_before_the_drop_keeps_the_week(engine: Engine, acme: Caller) -> None:
    job_id = await engine.dlq(acme)
    await jobs.retry(engine.db, acme, job_id, is_reset=True)
    assert await week_of(engine, job_id) not in await drop(engine)
    assert await engine.status(acme, job_id) is S.QUEUED


async def test_retry_under_way_makes_the_drop_wait_for_the_next_time(engine: Engine, acme: Caller) -> None:
    job_id = await engine.dlq(acme)
    week = await week_of(engine, job_id)
    other = await engine.connect()
    transaction = other.transaction()
    await transaction.start()
    await other.fetch("SELECT * FROM jobqueue.retry_v1($1, $2, true)", acme.tenant_id, job_id)
    assert week not in await drop(engine)
    await transaction.commit()
    other.terminate()
    assert week not in await drop(engine)
    assert await engine.status(acme, job_id) is S.QUEUED
    await engine.check_counts()


async def test_retry_that_commits_while_the_drop_waits_for_it_keeps_the_week(engine: Engine, acme: Caller) -> None:
    job_id = await engine.dlq(acme)
    week = await week_of(engine, job_id)
    await drop(engine, weeks=0)  # the weeks before, so that this one is the first to be looked at
    other = await engine.connect()
    transaction = other.transaction()
    await transaction.start()
    await other.fetch("SELECT * FROM jobqueue.retry_v1($1, $2, true)", acme.tenant_id, job_id)
    async with asyncio.TaskGroup() as group:
        dropping = group.create_task(drop(engine))
        await until_somebody_waits(engine.raw, on=other.get_server_pid())
        await transaction.commit()
    other.terminate()
    assert week not in dropping.result()
    assert await engine.status(acme, job_id) is S.QUEUED


async def test_retry_that_waits_for_the_drop_finds_nothing(engine: Engine, acme: Caller) -> None:
    job_id = await engine.dlq(acme)
    other = await engine.connect()
    transaction = other.transaction()
    await transaction.start()
    while await other.fetchval("SELECT jobqueue.drop_week_v1(3600, $1)", await far(engine)):
        pass
    async with asyncio.TaskGroup() as group:
        late = group.create_task(outcome_of_retry(engine, acme, job_id))
        await until_somebody_waits(engine.raw, on=other.get_server_pid())
        await transaction.commit()
    other.terminate()
    assert late.result() == "not_found"


async def outcome_of_retry(engine: Engine, caller: Caller, job_id: UUID) -> str:
    try:
        await jobs.retry(engine.db, caller, job_id, is_reset=True)
    except (NotFound, WrongState) as error:
        return error.code
    return "queued"


async def test_reader_of_another_week_makes_the_drop_wait_for_the_next_time(engine: Engine, acme: Caller) -> None:
    await engine.succeeded(acme)
    other = await engine.connect()
    transaction = other.transaction()
    await transaction.start()
    await other.fetch("SELECT FROM jobqueue.job WHERE job_id < '00000000-0000-0000-0000-000000000001'")  # holds the parent only
    counts = await jobs.count(engine.db, acme)
    assert await drop(engine) == []
    assert (await jobs.count(engine.db, acme)).by_status == counts.by_status
    await transaction.rollback()
    other.terminate()
    assert await drop(engine) != []


# -------------------------------------------------------------------------------------------------- leadership


async def elect(engine: Engine, holder: UUID, term: int | None = None, *, term_s: float = 60.0) -> int | None:
    return await upkeep.elect(engine.db, role="reaper", holder=holder, term=term, term_s=term_s)


async def test_first_one_leads_and_renews_in_its_term(engine: Engine) -> None:
    one, two = uuid4(), uuid4()
    assert await elect(engine, one) == 1
    assert await elect(engine, two) is None
    assert await elect(engine, one, 1) == 1
    assert await elect(engine, two) is None


async def test_expired_leader_is_replaced_in_a_new_term_and_does_not_come_back_by_renewing(engine: Engine) -> None:
    one, two = uuid4(), uuid4()
    await elect(engine, one, term_s=-1.0)
    assert await elect(engine, two) == 2
    assert await elect(engine, one, 1) is None
    await upkeep.resign(engine.db, role="reaper", holder=one, term=1)
    assert await elect(engine, two, 2) == 2


async def test_expired_leader_nobody_replaced_leads_on_in_a_new_term(engine: Engine) -> None:
    one = uuid4()
    await elect(engine, one, term_s=-1.0)
    assert await elect(engine, one, 1) == 2


async def test_resigned_leader_is_followed_at_once(engine: Engine) -> None:
    one, two = uuid4(), uuid4()
    await elect(engine, one)
    await upkeep.resign(engine.db, role="reaper", holder=one, term=1)
    assert await elect(engine, two) == 2


async def test_of_many_candidates_at_once_one_is_elected(engine: Engine) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(elect(engine, uuid4())) for _ in range(6)]
    assert [task.result() for task in tasks].count(1) == 1
    assert [task.result() for task in tasks].count(None) == 5


async def test_roles_have_leaders_of_their_own(engine: Engine) -> None:
    await elect(engine, uuid4())
    assert await upkeep.elect(engine.db, role="other", holder=uuid4(), term=None, term_s=1.0) == 1
