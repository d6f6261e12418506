"""Out: which jobs a claim takes, in which order, and never more than the limits allow."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from jobqueue.domain.lease import Lease
from jobqueue.domain.lifecycle import Status
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.operations import jobs, upkeep
from jobqueue.operations.jobs import Caller
from jobqueue.store.leases import AGING
from tests.engine import Engine, outcome, request

CRITICAL, HIGH, NORMAL, LOW = range(4)


async def held(engine: Engine, caller: Caller) -> int:
    return int(await engine.raw.fetchval("SELECT count(*) FROM jobqueue.lease WHERE tenant_id = $1", caller.tenant_id))


async def drain(engine: Engine, jobs_max: int, **fields: object) -> list[Lease]:
    claimer = await engine.claimer(**fields)  # type: ignore[arg-type]
    got: list[Lease] = []
    for _ in range(200):
        found = await claimer.claim(jobs_max=jobs_max)
        if not found:
            break
        got += found
    return got


# ------------------------------------------------------------------------------------------------------- which


async def test_claimed_job_is_leased_and_carries_what_the_handler_needs(engine: Engine, acme: Caller) -> None:
    await engine.queue(acme, retry_base_s=2.0)
    job_id = await engine.submit(
        acme, data='{"a":1}', timeout_s=9, tags_json='["x"]', metadata_json="{}", key="k", correlation_id="c", priority=1
    )
    lease = await engine.claim_one()
    assert (lease.job_id, lease.tenant, lease.queue, lease.job_type, lease.priority) == (job_id, "acme", "default", "t", "high")
    assert (lease.data_json, lease.timeout_s, lease.tags, lease.metadata_json) == ('{"a":1}', 9, ["x"], "{}")
    assert (lease.idempotency_key, lease.correlation_id, lease.is_isolated) == ("k", "c", False)
    assert (lease.standing.attempt, lease.standing.crashes, lease.standing.policy.delay_s_base) == (1, 0, 2.0)
    job = await engine.get(acme, job_id)
    assert (job.status, job.attempt, job.lease_owner, job.started_at) == (Status.LEASED, 1, "worker-1", None)
    row = await engine.row("lease", job_id)
    assert row["expires_at"] - row["claimed_at"] < timedelta(seconds=1)
    assert timedelta(seconds=9 + 30) < row["deadline_at"] - row["claimed_at"] < timedelta(seconds=9 + 32)
    await engine.check_counts()


async def test_only_named_types_are_taken(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request("mine"), request("other"), request("also-mine")])
    assert {lease.job_type for lease in await engine.claim(types=["mine", "also-mine"])} == {"mine", "also-mine"}
    assert await engine.claim(types=["mine"]) == []


async def test_only_named_queues_are_taken(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request(queue="a"), request(queue="b"), request(queue="c")])
    assert {lease.queue for lease in await engine.claim(queues=["a", "c"])} == {"a", "c"}


async def test_all_queues_means_also_those_that_come_later(engine: Engine, acme: Caller) -> None:
    claimer = await engine.claimer()
    await engine.submit_all(acme, [request(queue="a"), request(queue="b")])
    assert {lease.queue for lease in await claimer.claim(jobs_max=10)} == {"a", "b"}
    await engine.submit(acme, queue="new")
    claimer.forget()
    assert {lease.queue for lease in await claimer.claim(jobs_max=10)} == {"new"}


async def test_no_job_is_given_twice(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request()] * 30)
    got = [lease.job_id for _ in range(4) for lease in await engine.claim(10)]
    assert len(got) == len(set(got)) == 30


@pytest.mark.parametrize("tenants", [1, 2, 5, 20])
@pytest.mark.parametrize("jobs_max", [1, 3, 10])
async def test_claim_brings_at_most_what_was_asked_for(engine: Engine, tenants: int, jobs_max: int) -> None:
    for number in range(tenants):
        caller = await engine.tenant(f"tenant-{number}")
        await engine.submit_all(caller, [request()] * 4)
    claimer = await engine.claimer()
    sizes = [len(await claimer.claim(jobs_max=jobs_max)) for _ in range(8)]
    assert max(sizes) <= jobs_max
    assert sizes[0] > 0


async def test_small_tenant_is_served_beside_a_large_one(engine: Engine) -> None:
    large, small = await engine.tenant("large"), await engine.tenant("small")
    await engine.submit_all(large, [request()] * 400)
    await engine.submit_all(small, [request()] * 5)
    claimer = await engine.claimer()
    assert Counter(lease.tenant for lease in await claimer.claim(jobs_max=20))["small"] == 5


async def test_expired_job_is_never_claimed_before_it_is_swept(engine: Engine, acme: Caller) -> None:
    await engine.submit(acme, expires_in_s=0.0)
    fresh = await engine.submit(acme, expires_in_s=3600.0)
    assert [lease.job_id for lease in await engine.claim()] == [fresh]


async def test_paused_queue_keeps_its_jobs_and_other_tenants_of_its_name_go_on(engine: Engine, acme: Caller) -> None:
    other = await engine.tenant("other")
    job_id = await engine.submit(acme)
    await engine.submit(other)
    await engine.queue(acme, is_paused=True)
    assert [lease.tenant for lease in await engine.claim()] == ["other"]
    assert (await engine.get(acme, job_id)).waiting_reason == "paused"
    await engine.queue(acme, is_paused=False)
    assert [lease.job_id for lease in await engine.claim()] == [job_id]


# ------------------------------------------------------------------------------------------------------- order


async def arrange_age(engine: Engine, job_id: object, seconds: float) -> None:
    await engine.raw.execute(
        "UPDATE jobqueue.ready SET sort_at = clock_timestamp() - $2 * interval '1 second' WHERE job_id = $1", job_id, seconds
    )


async def claim_in_order(engine: Engine, **fields: object) -> list[object]:
    claimer = await engine.claimer(**fields)  # type: ignore[arg-type]
    got: list[object] = []
    while found := await claimer.claim(jobs_max=1):
        got += [lease.job_id for lease in found]
        claimer.forget()
    return got


async def test_better_priority_goes_first(engine: Engine, acme: Caller) -> None:
    low, normal, high = [await engine.submit(acme, priority=priority) for priority in (LOW, NORMAL, HIGH)]
    assert await claim_in_order(engine) == [high, normal, low]


async def test_job_that_waited_longer_by_the_bound_goes_before_a_better_one(engine: Engine, acme: Caller) -> None:
    old_low, older_low, high = [await engine.submit(acme, priority=priority) for priority in (LOW, LOW, HIGH)]
    steps = AGING.total_seconds() * (LOW - HIGH)
    await arrange_age(engine, old_low, steps - 5)
    await arrange_age(engine, older_low, steps + 5)
    assert await claim_in_order(engine) == [older_low, high, old_low]


async def test_order_holds_over_many_types_and_batches(engine: Engine, acme: Caller) -> None:
    types = [f"type-{number}" for number in range(7)]
    await engine.submit_all(acme, [request(types[number % 7], priority=1 + number % 3) for number in range(300)])
    await engine.raw.execute(
        "UPDATE jobqueue.ready SET sort_at = clock_timestamp() - ('x' || left(md5(job_id::text), 4))::bit(16)::int * interval '2 ms'"
    )
    wanted = [
        row["job_id"]
        for row in await engine.raw.fetch("SELECT job_id FROM jobqueue.ready ORDER BY sort_at + priority * $1::interval, job_id", AGING)
    ]
    claimer = await engine.claimer(types=types)
    done = 0
    while done < len(wanted):
        found = {lease.job_id for lease in await claimer.claim(jobs_max=25)}
        assert found
        assert found == set(wanted[done : done + len(found)])
        done += len(found)


@pytest.mark.parametrize("jobs_max", [1, 5, 10])
async def test_critical_jobs_come_first_four_of_five_while_others_wait(engine: Engine, acme: Caller, jobs_max: int) -> None:
    await engine.submit_all(acme, [request(priority=CRITICAL)] * 40 + [request(priority=LOW)] * 40)
    claimer = await engine.claimer()
    got = [lease.priority for _ in range(40 // jobs_max) for lease in await claimer.claim(jobs_max=jobs_max)]
    assert got[0] == "critical"
    assert 30 <= Counter(got)["critical"] <= 34


async def test_critical_jobs_never_take_another_tenant_s_turn(engine: Engine, acme: Caller) -> None:
    other = await engine.tenant("other")
    await engine.submit_all(acme, [request("t", priority=0) for _ in range(200)])
    await engine.submit_all(other, [request("t", priority=3) for _ in range(100)])
    claimer = await engine.claimer()
    taken = Counter({acme.tenant: 0, other.tenant: 0})
    for _ in range(20):
        for lease in await claimer.claim(jobs_max=10):
            taken[lease.tenant] += 1
    assert taken == {acme.tenant: 100, other.tenant: 100}


async def test_critical_jobs_take_all_when_nothing_else_waits(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request(priority=CRITICAL)] * 30)
    assert len(await engine.claim(30)) == 30


async def test_released_job_goes_back_to_its_place_for_a_claimer_that_remembers(engine: Engine, acme: Caller) -> None:
    first = await engine.submit(acme)
    await engine.submit_all(acme, [request()] * 10)
    claimer = await engine.claimer()
    (lease,) = await claimer.claim(jobs_max=1)
    assert lease.job_id == first
    await claimer.claim(jobs_max=5)
    await engine.settle(lease, OutcomeKind.RELEASED, ran_s=None)
    lanes = await engine.raw.fetchrow("SELECT tenant_id, queue_id, type_id, band FROM jobqueue.ready WHERE job_id = $1", first)
    assert claimer.learn(tuple(lanes))
    assert (await claimer.claim(jobs_max=1))[0].job_id == first


# ------------------------------------------------------------------------------------------------------ limits


async def test_tenant_cap_is_exact_over_claimers(engine: Engine) -> None:
    capped = await engine.tenant("capped", max_concurrent=5)
    await engine.submit_all(capped, [request()] * 20)
    one, two = await engine.claimer(), await engine.claimer(worker="worker-2")
    first = await one.claim(jobs_max=3)
    second = await two.claim(jobs_max=10)
    assert (len(first), len(second)) == (3, 2)
    assert await one.claim(jobs_max=10) == []
    await engine.settle(first[0])
    await engine.settle(second[0])
    one.forget()
    assert len(await one.claim(jobs_max=10)) == 2


async def test_cap_of_zero_is_no_limit_and_null_is_the_settings(engine: Engine) -> None:
    free, bound = await engine.tenant("free", max_concurrent=0), await engine.tenant("bound")
    await engine.submit_all(free, [request()] * 6)
    await engine.submit_all(bound, [request()] * 6)
    await drain(engine, 20, terms=replace(engine.terms, tenant_cap=2))
    assert (await held(engine, free), await held(engine, bound)) == (6, 2)


async def test_plan_s_cap_holds_where_the_tenant_has_none(engine: Engine, acme: Caller) -> None:
    await engine.raw.execute("UPDATE jobqueue.plan SET max_concurrent = 4 WHERE name = 'pro'")
    await engine.submit_all(acme, [request()] * 9)
    await drain(engine, 20)
    assert await held(engine, acme) == 4


async def test_lowered_cap_stops_claims_and_not_jobs(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request()] * 10)
    claimer = await engine.claimer()
    leases = await claimer.claim(jobs_max=3) + await claimer.claim(jobs_max=3)
    assert len(leases) == 6
    await engine.raw.execute("UPDATE jobqueue.tenant SET max_concurrent = 5 WHERE tenant_id = $1", acme.tenant_id)
    assert await claimer.claim(jobs_max=10) == []
    await engine.settle_all([(lease, outcome()) for lease in leases[:2]])
    assert len(await claimer.claim(jobs_max=10)) == 1
    assert await held(engine, acme) == 5


async def test_queue_cap_is_exact_for_a_claimer_that_served_other_queues_between(engine: Engine, acme: Caller) -> None:
    await engine.queue(acme, "capped", max_concurrent=2)
    claimer = await engine.claimer()
    await engine.submit_all(acme, [request(queue="capped")] * 2)
    assert len(await claimer.claim(jobs_max=10)) == 2
    await engine.submit_all(acme, [request(queue="open")] * 3)
    while not await claimer.claim(jobs_max=10):  # until its lanes are looked up again
        pass
    await engine.submit_all(acme, [request(queue="capped")] * 4)
    for lane in set(engine.woken):
        claimer.learn(lane)
    for _ in range(5):
        await claimer.claim(jobs_max=10)
    counted = await engine.raw.fetch("SELECT q.name, count(*) AS n FROM jobqueue.lease l JOIN jobqueue.queue q USING (queue_id) GROUP BY 1")
    assert {row["name"]: row["n"] for row in counted} == {"capped": 2, "open": 3}


async def test_queue_cap_is_exact_and_leaves_other_queues_alone(engine: Engine, acme: Caller) -> None:
    await engine.queue(acme, "capped", max_concurrent=2)
    await engine.submit_all(acme, [request(queue="capped")] * 6 + [request("u", queue="capped")] * 6 + [request(queue="open")] * 6)
    got = Counter(lease.queue for lease in await drain(engine, 4, types=["t", "u"]))
    assert got == {"capped": 2, "open": 6}


async def test_queue_cap_of_one_tenant_is_not_another_s(engine: Engine, acme: Caller) -> None:
    other = await engine.tenant("other")
    await engine.queue(acme, max_concurrent=1)
    await engine.submit_all(acme, [request()] * 3)
    await engine.submit_all(other, [request()] * 3)
    assert Counter(lease.tenant for lease in await drain(engine, 5)) == {"acme": 1, "other": 3}


async def test_key_cap_is_exact_and_other_keys_go_on(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request(concurrency_key=key) for key in ("a", "a", "a", "b", "b")] + [request()] * 2)
    got = await drain(engine, 10)
    keys = Counter(lease.key_id for lease in got)
    assert sorted(keys.values()) == [1, 1, 2]  # one of a, one of b, two without a key
    assert await engine.raw.fetchval("SELECT count(*) FROM jobqueue.parked") == 3


async def test_overflow_is_parked_reads_as_throttled_and_is_let_in_at_settle(engine: Engine, acme: Caller) -> None:
    await engine.queue(acme, key_max_concurrent=2)
    ids = [await engine.submit(acme, concurrency_key="k") for _ in range(4)]
    leases = await engine.claim()
    assert [lease.job_id for lease in sorted(leases, key=lambda lease: lease.job_id)] == ids[:2]
    await engine.worker_id()
    parked = await engine.get(acme, ids[2])
    assert (parked.status, parked.waiting_reason) == (Status.QUEUED, "throttled")
    assert await engine.history(acme, ids[2]) == ["submitted"]
    await engine.check_counts()
    await engine.settle(leases[0])
    assert await engine.row("parked", ids[2]) is None
    assert [lease.job_id for lease in await engine.claim()] == ids[2:3]
    assert await engine.row("parked", ids[3]) is not None
    await engine.check_counts()


async def test_full_key_does_not_block_what_waits_behind_it(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request(concurrency_key="full")] * 30)
    behind = await engine.submit(acme, concurrency_key="free")
    claimer = await engine.claimer()
    got = [lease.job_id for _ in range(10) for lease in await claimer.claim(jobs_max=5)]
    assert behind in got
    assert len(got) == 2


async def test_lowered_key_cap_does_not_block_what_waits_behind_it(engine: Engine, acme: Caller) -> None:
    await engine.queue(acme, key_max_concurrent=3)
    await engine.submit_all(acme, [request(concurrency_key="full")] * 3)
    assert len(await engine.claim()) == 3
    await engine.queue(acme, key_max_concurrent=1)
    await engine.submit_all(acme, [request(concurrency_key="full")] * 30)
    behind = await engine.submit(acme, concurrency_key="free")
    claimer = await engine.claimer()
    assert [lease.job_id for _ in range(10) for lease in await claimer.claim(jobs_max=5)] == [behind]


async def test_raised_key_cap_lets_parked_jobs_in_at_the_next_sweep(engine: Engine, acme: Caller) -> None:
    await engine.submit_all(acme, [request(concurrency_key="k")] * 5)
    assert len(await drain(engine, 10)) == 1
    await engine.queue(acme, key_max_concurrent=3)
    assert await upkeep.sweep_concurrency_keys(engine.db) == 2
    assert len(await drain(engine, 10)) == 2


async def test_cancelled_holder_s_place_is_given_on(engine: Engine, acme: Caller) -> None:
    first = await engine.submit(acme, concurrency_key="k")
    await engine.submit(acme, concurrency_key="k")
    lease = await engine.claim_one()
    await engine.settle(lease, OutcomeKind.RELEASED, ran_s=None)  # ready again, the other one parked
    await jobs.cancel(engine.db, acme, first, grace_s=1)
    await upkeep.sweep_concurrency_keys(engine.db)
    assert len(await drain(engine, 10)) == 1


async def test_tenant_busy_in_another_claim_is_skipped_and_not_waited_for(engine: Engine, acme: Caller) -> None:
    other = await engine.tenant("other")
    await engine.submit(acme)
    await engine.submit(other)
    async with engine.raw.transaction():
        await engine.raw.execute("SELECT FROM jobqueue.tenant WHERE tenant_id = $1 FOR NO KEY UPDATE", acme.tenant_id)
        assert [lease.tenant for lease in await engine.claim()] == ["other"]
    assert [lease.tenant for lease in await engine.claim()] == ["acme"]


async def test_many_claimers_at_once_keep_every_cap(engine: Engine) -> None:
    callers = [await engine.tenant(f"tenant-{number}", max_concurrent=3) for number in range(4)]
    for caller in callers:
        await engine.submit_all(caller, [request()] * 20)
    claimers = [await engine.claimer(worker=f"worker-{number}") for number in range(6)]
    for _ in range(5):
        async with asyncio.TaskGroup() as group:
            for claimer in claimers:
                group.create_task(claimer.claim(jobs_max=10))
    assert [await held(engine, caller) for caller in callers] == [3, 3, 3, 3]
