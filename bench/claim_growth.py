"""What a claim of 100 costs as there is more of everything: waiting jobs, tenants, types.

    python -m bench.claim_growth [--rounds 40] [--json FILE]

Each shape is a database of its own on one server; claims are taken in turns, round by round, and medians are compared. Claimers keep
their memory, as a worker does, so that the discovery of lanes, about once a second, is in it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench import process
from bench.claim_head import CLAIMED, TERMS
from bench.contender import TENANTS
from bench.ours import Jobqueue
from bench.server import Server, serving
from jobqueue.aio.clock import SystemClock
from jobqueue.operations import workers
from jobqueue.operations.database import open_database
from jobqueue.operations.leases import Claimer
from jobqueue.operations.naming import NameBook

WARM_UP: Final = 3
LEAST_SHARE: Final = 0.5
FILL_S_MAX: Final = 300.0
FILL: Final = """
WITH made AS MATERIALIZED (SELECT n, jobqueue.new_id() AS job_id FROM generate_series(0, $1::int - 1) n),
jobs AS (
  INSERT INTO jobqueue.job (tenant_id, job_id, queue_id, type_id, priority, max_attempts, data)
  SELECT 1 + n % $2::int, m.job_id, 1, 1 + n / $2::int % $3::int, 2, 3, '{}' FROM made m)
INSERT INTO jobqueue.ready (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes)
SELECT clock_timestamp(), m.job_id, 1, 1 + n / $2::int % $3::int, 1 + n % $2::int, 2, 2, 0, 3, 0 FROM made m
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """What waits."""

    name: str
    jobs: int
    tenants: int = TENANTS
    types: int = 1


BASE: Final = Shape("10,000 waiting, 10 tenants, 1 type", 10_000)
SHAPES: Final = (
    (Shape("1,000,000 waiting", 1_000_000), 1.3),
    (Shape("1,000 tenants", 10_000, tenants=1_000), 2.0),
    (Shape("50 types", 10_000, types=50), 1.5),
)

STEPS: Final = {
    "jobs waiting": [(jobs, Shape(f"{jobs} jobs", jobs)) for jobs in (10_000, 100_000, 1_000_000)],
    "tenants": [(tenants, Shape(f"{tenants} tenants of 20,000", 20_000, tenants=tenants)) for tenants in (10, 100, 1_000)],
    "types": [(types, Shape(f"{types} types of 20,000", 20_000, types=types)) for types in (1, 10, 50)],
}


@asynccontextmanager
async def claimer_of(server: Server, shape: Shape) -> AsyncIterator[Claimer]:
    """Make a database of that shape and a claimer for it."""
    dsn = await server.fresh(Shaped(shape))
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "INSERT INTO jobqueue.tenant (name) SELECT 'more-' || n FROM generate_series(1, $1::int) n", shape.tenants - TENANTS
    )
    await connection.execute("INSERT INTO jobqueue.queue (name) VALUES ('default')")
    await connection.execute("INSERT INTO jobqueue.job_type (name) SELECT 'type-' || n FROM generate_series(1, $1::int) n", shape.types)
    await connection.execute(FILL, shape.jobs, shape.tenants, shape.types, timeout=FILL_S_MAX)
    await connection.execute("VACUUM ANALYZE", timeout=FILL_S_MAX)
    await connection.close()
    db = await open_database(dsn, size=2, application_name="bench")
    types = [f"type-{number}" for number in range(1, shape.types + 1)]
    worker_id = await workers.register(db, name="bench", queues=None, job_types=types, concurrency=CLAIMED, version="bench")
    try:
        yield Claimer(db, NameBook(db), TERMS, worker_id=worker_id, queues=None, job_types=types, clock=SystemClock())
    finally:
        await db.close()


class Shaped(Jobqueue):
    """A database of its own for each shape: the server names them by their contender."""

    def __init__(self, shape: Shape) -> None:
        self.name = shape.name


async def claim(claimer: Claimer) -> float:
    """Time one claim, in ms for as many jobs as asked: with many lanes it may bring a few less."""
    started = time.perf_counter()
    found = await claimer.claim(jobs_max=CLAIMED)
    took_ms = (time.perf_counter() - started) * 1000
    assert len(found) >= CLAIMED * LEAST_SHARE, len(found)
    return took_ms * CLAIMED / len(found)


async def alone(rounds: int) -> dict[str, Any]:
    """Measure on a server of its own."""
    async with serving() as server:
        return await measure(server, rounds)


async def measure(server: Server, rounds: int) -> dict[str, Any]:
    """Compare each shape with the base, in turns."""
    figures: dict[str, Any] = {}
    async with claimer_of(server, BASE) as base:
        for shape, goal in SHAPES:
            async with claimer_of(server, shape) as larger:
                pairs = [(await claim(base), await claim(larger)) for _ in range(rounds + WARM_UP)][WARM_UP:]
            if base_left := BASE.jobs - CLAIMED * (rounds + WARM_UP) * len(SHAPES):
                assert base_left > 0, "fewer rounds: the base would run dry"
            small_ms, large_ms = (statistics.median(column) for column in zip(*pairs, strict=True))
            figures[shape.name] = {"base_ms": small_ms, "ms": large_ms, "ratio": large_ms / small_ms, "goal": goal}
    return figures


async def sizes(server: Server, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Time claims at growing sizes, for a picture: (how many, ms)."""
    series: dict[str, list[tuple[float, float]]] = {}
    for what, shapes in STEPS.items():
        for size, shape in shapes:
            async with claimer_of(server, shape) as claimer:
                taken = [await claim(claimer) for _ in range(rounds + WARM_UP)][WARM_UP:]
            series.setdefault(what, []).append((size, statistics.median(taken)))
    return series


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    figures = process.run(alone(chosen.rounds))
    print(f"claim of {CLAIMED}, against {BASE.name}:")
    for name, one in figures.items():
        print(f"  {name:18} {one['ms']:6.2f} ms against {one['base_ms']:6.2f} ms = {one['ratio']:.2f}x (goal: <= {one['goal']}x)")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
