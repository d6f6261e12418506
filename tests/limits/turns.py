"""Turns and gates, measured on the engine itself: who gets how much, how soon, and what limits cost.

    python -m tests.limits.turns [--waiting 1000000] [--only shares,small,crowd,parked,tenants]

- shares: four tenants of weights 1, 5, 7, 10 with endless work, several claimers: each within 10 % of its share of 5,000 jobs
- small: a tenant with one job beside one with a million waiting starts it with p99 <= 100 ms at free slots
- crowd: 20 claimers on one tenant at its cap do at least 0.7x of what one does
- parked: a million jobs parked at a full key cost claims of others nothing
- tenants: a look for lanes and a turn with 10,000 tenants of which 100 have work
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from jobqueue.operations import leases
from jobqueue.operations.leases import Claimer
from tests import postgres
from tests.engine import Engine, open_engine, outcome, request, settlement

WEIGHTS: Final = (1, 5, 7, 10)
SHARED_JOBS: Final = 5_000
SHARE_OFF_MAX: Final = 0.10
SMALL_S_MAX: Final = 0.100
CROWD: Final = 20
CROWD_MIN: Final = 0.7
CROWD_S: Final = 5.0
CHUNK: Final = 50_000

FILL: Final = """
WITH
n AS MATERIALIZED (SELECT jobqueue.new_id() AS id FROM generate_series(1, $4::int)),
j AS (
  INSERT INTO jobqueue.job (tenant_id, job_id, queue_id, type_id, key_id, priority, max_attempts, data)
  SELECT $1::int, id, $2::int, $3::int, $5::bigint, 2, 3, '{}' FROM n)
INSERT INTO jobqueue.PLACE (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id)
SELECT clock_timestamp() - interval '1 hour', id, $2::int, $3::int, $1::int, CASE WHEN $5::bigint IS NULL THEN 2 ELSE 6 END,
  2, 0, 3, 0, $5::bigint
FROM n
"""


async def fill(engine: Engine, tenant_id: int, jobs: int, *, place: str = "ready", key_id: int | None = None, job_type: str = "t") -> None:
    """Write waiting jobs straight into the tables, without history."""
    queue_id = (await engine.names.queue_ids(["default"]))["default"]
    type_id = (await engine.names.type_ids([job_type]))[job_type]
    for first in range(0, jobs, CHUNK):
        count = min(CHUNK, jobs - first)
        await engine.raw.execute(FILL.replace("PLACE", place), tenant_id, queue_id, type_id, count, key_id, timeout=120)


async def work(engine: Engine, claimer: Claimer, *, jobs_max: int, done: Callable[[list[Any]], bool]) -> None:
    """Claim and settle at once until done says so."""
    while True:
        found = await claimer.claim(jobs_max=jobs_max)
        if found:
            found.sort(key=lambda lease: lease.job_id)
            await leases.settle(engine.db, [settlement(lease, outcome()) for lease in found])
        else:
            await asyncio.sleep(0.003)
        if done(found):
            return


async def shares(engine: Engine, *, jobs: int = SHARED_JOBS, claimers: int = 3) -> dict[int, float]:
    """Answer how far each weight's share is off, as a part of it."""
    got: Counter[str] = Counter()
    for weight in WEIGHTS:
        caller = await engine.tenant(f"weight-{weight}", weight=weight)
        await fill(engine, caller.tenant_id, jobs)

    def done(found: list[Any]) -> bool:
        got.update(lease.tenant for lease in found)
        return got.total() >= jobs

    async with asyncio.TaskGroup() as group:
        for number in range(claimers):
            group.create_task(work(engine, await engine.claimer(worker=f"w{number}"), jobs_max=7 + 9 * number, done=done))
    return {weight: got[f"weight-{weight}"] / (got.total() * weight / sum(WEIGHTS)) - 1 for weight in WEIGHTS}


async def small(engine: Engine, *, waiting: int, samples: int = 200) -> list[float]:
    """Answer the times from submit to lease of a small tenant's jobs, in seconds, sorted; two claimers have free slots all the time."""
    large, little = await engine.tenant("large"), await engine.tenant("little")
    await fill(engine, large.tenant_id, waiting)
    is_over = False
    claimers = [await engine.claimer(worker=f"w{number}") for number in range(2)]
    async with asyncio.TaskGroup() as group:
        for claimer in claimers:
            group.create_task(work(engine, claimer, jobs_max=50, done=lambda _: is_over))
        for _ in range(samples):
            await engine.submit(little)
            for claimer in claimers:  # as a wake-up has them do
                for lane in engine.woken:
                    claimer.learn(lane)
            engine.woken.clear()
            await asyncio.sleep(0.02)
        await asyncio.sleep(1.5)
        is_over = True
    rows = await engine.raw.fetch(
        "SELECT extract(epoch FROM e.leased_at - s.at)::float8 AS s FROM jobqueue.event e JOIN jobqueue.event s"
        " ON s.job_id = e.job_id AND s.type = 'submitted' WHERE e.tenant_id = $1 AND e.leased_at IS NOT NULL",
        little.tenant_id,
    )
    assert len(rows) == samples, f"{len(rows)} of {samples} started"
    return sorted(row[0] for row in rows)


async def crowd(engine: Engine) -> tuple[float, float]:
    """Answer the jobs a second of one claimer and of twenty on one tenant at its cap."""
    caller = await engine.tenant("capped", max_concurrent=20)
    await fill(engine, caller.tenant_id, 200_000)
    rates = []
    for count in (1, CROWD):
        ended, until = 0, time.monotonic() + CROWD_S

        def done(found: list[Any], until: float = until) -> bool:
            nonlocal ended
            ended += len(found)
            return time.monotonic() > until

        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(work(engine, await engine.claimer(worker=f"c{number}"), jobs_max=10, done=done))
        rates.append(ended / CROWD_S)
    return rates[0], rates[1]


async def parked(engine: Engine, *, waiting: int) -> tuple[float, float]:
    """Answer the median seconds of a claim of 50 by another tenant, and by the same one, without and with a million parked jobs."""
    keyed, other = await engine.tenant("keyed"), await engine.tenant("other")
    await fill(engine, other.tenant_id, 40_000)
    claimer = await engine.claimer(worker="p")

    async def claim() -> None:
        found = await claimer.claim(jobs_max=50)
        assert found
        found.sort(key=lambda lease: lease.job_id)
        await leases.settle(engine.db, [settlement(lease, outcome()) for lease in found])

    before = await median(claim, 150)
    key_id = (await engine.names.key_ids(keyed.tenant_id, {((await engine.names.queue_ids(["default"]))["default"], "k")})).popitem()[1]
    await engine.submit_all(keyed, [request(concurrency_key="k")] * 2)
    await fill(engine, keyed.tenant_id, waiting, place="parked", key_id=key_id)
    await engine.raw.execute("ANALYZE jobqueue.parked, jobqueue.job, jobqueue.ready")
    held = await engine.claim(jobs_max=1, types=("t",), worker="holder")  # the key is full, or the other tenant's turn came
    after = await median(claim, 150)
    assert held
    return before, after


async def many_tenants(engine: Engine) -> tuple[float, float]:
    """Answer the seconds of a look for lanes and the median of a claim of 50, with 10,000 tenants of which 100 have work."""
    await engine.raw.execute(
        "INSERT INTO jobqueue.tenant (name, plan, weight) SELECT 'many-' || i, 'free', 1 FROM generate_series(1, 10000) i"
    )
    for row in await engine.raw.fetch("SELECT tenant_id FROM jobqueue.tenant WHERE name LIKE 'many-%00'"):
        await fill(engine, row[0], 300)
    claimer = await engine.claimer(worker="m")

    async def look() -> None:
        claimer.forget()
        await claimer.number()
        await claimer._discover(engine.clock.monotonic())

    looked = await median(look, 20)

    async def claim() -> None:
        found = await claimer.claim(jobs_max=50)
        found.sort(key=lambda lease: lease.job_id)
        await leases.settle(engine.db, [settlement(lease, outcome()) for lease in found])

    return looked, await median(claim, 150)


async def median(act: Callable[[], Awaitable[None]], times: int) -> float:
    """Time something again and again."""
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        await act()
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(arguments: argparse.Namespace) -> None:
    """Measure each on a database of its own."""
    faults = []
    async with postgres.running_server() as server:
        for name in arguments.only.split(","):
            await server.ensure_database(name)
            await postgres.migrate(server.dsn(name))
            async with open_engine(server.dsn(name)) as engine:
                line, is_good = await MEASURES[name](engine, arguments.waiting)
            say(f"{name}: {line}")
            if not is_good:
                faults.append(name)
    assert not faults, faults


async def _shares(engine: Engine, _waiting: int) -> tuple[str, bool]:
    off = await shares(engine)
    return ", ".join(f"weight {weight} {part:+.1%}" for weight, part in off.items()), max(map(abs, off.values())) <= SHARE_OFF_MAX


async def _small(engine: Engine, waiting: int) -> tuple[str, bool]:
    took = await small(engine, waiting=waiting)
    p99 = took[int(len(took) * 0.99)]
    return f"beside {waiting:,} waiting: p50 {statistics.median(took) * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms", p99 <= SMALL_S_MAX


async def _crowd(engine: Engine, _waiting: int) -> tuple[str, bool]:
    one, many = await crowd(engine)
    return f"one claimer {one:,.0f} jobs/s, {CROWD} claimers {many:,.0f} ({many / one:.2f}x)", many >= CROWD_MIN * one


async def _parked(engine: Engine, waiting: int) -> tuple[str, bool]:
    before, after = await parked(engine, waiting=waiting)
    return f"claim and settle of 50: {before * 1e3:.2f} ms, with {waiting:,} parked {after * 1e3:.2f} ms ({after / before:.2f}x)", True


async def _tenants(engine: Engine, _waiting: int) -> tuple[str, bool]:
    looked, claimed = await many_tenants(engine)
    return f"look for lanes {looked * 1e3:.2f} ms, claim and settle of 50: {claimed * 1e3:.2f} ms", True


MEASURES: Final[dict[str, Callable[[Engine, int], Awaitable[tuple[str, bool]]]]] = {
    "shares": _shares,
    "small": _small,
    "crowd": _crowd,
    "parked": _parked,
    "tenants": _tenants,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--only", default=",".join(MEASURES))
    asyncio.run(main(parser.parse_args()))
