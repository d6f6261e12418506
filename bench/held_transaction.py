"""How fast a drain is while a stranger's transaction stays open, against none: vacuum can remove nothing that died since.

    python -m bench.held_transaction [--before 200000] [--jobs 50000] [--rounds 3] [--json FILE]

The transaction opens before the drain; what is timed are the last jobs, when it has been open for `--before` of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench import process
from bench.contender import NOOP
from bench.drain import FILL_BATCH, work_off
from bench.ours import Jobqueue
from bench.server import Server, fetch, serving

TIMED: Final = """
SELECT count(*) / extract(epoch FROM max(finished_at) - min(finished_at))::float8
FROM (SELECT finished_at FROM jobqueue.outcome ORDER BY finished_at OFFSET {before}) last
"""
GOAL: Final = 0.8


async def drain(server: Server, *, before: int, jobs: int, is_held: bool) -> float:
    """Drain, and say how fast the last jobs went, a second."""
    ours = Jobqueue()
    dsn = await server.fresh(ours)
    async with ours.producer(dsn) as producer:
        for first in range(0, before + jobs, FILL_BATCH):
            await producer.submit_many(first, FILL_BATCH, job_type=NOOP)
    await server.settle_down(dsn)
    stranger = await asyncpg.connect(dsn)
    if is_held:
        await stranger.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await stranger.execute("SELECT pg_current_xact_id()")
    await work_off(server, ours, dsn, [], jobs=before + jobs)
    stranger.terminate()
    return float((await fetch(dsn, TIMED.format(before=before)))[0][0])


async def alone(before: int, jobs: int, rounds: int) -> dict[str, Any]:
    """Measure on a server of its own."""
    async with serving() as server:
        return await measure(server, before, jobs, rounds)


async def measure(server: Server, before: int, jobs: int, rounds: int) -> dict[str, Any]:
    """Take both in turns."""
    taken: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds):
        for is_held in (False, True) if number % 2 == 0 else (True, False):
            taken[is_held].append(await drain(server, before=before, jobs=jobs, is_held=is_held))
    free, held = statistics.median(taken[False]), statistics.median(taken[True])
    return {"none": free, "held": held, "ratio": held / free, "goal": GOAL, "rounds": {"none": taken[False], "held": taken[True]}}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=int, default=200_000)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    found = process.run(alone(chosen.before, chosen.jobs, chosen.rounds))
    print(f"drain, no transaction open: {found['none']:,.0f} jobs/s; open since {chosen.before:,} jobs ago: {found['held']:,.0f} jobs/s")
    print(f"ratio: {found['ratio']:.2f} (goal: >= {GOAL})")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
