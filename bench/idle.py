"""What idle worker processes ask of the database: looks for work a second, and its CPU.

python -m bench.idle [--workers 10] [--seconds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench import process
from bench.cpu import cpu_s
from bench.ours import Jobqueue
from bench.process import running
from bench.server import Server, serving

SETTLE_S: Final = 8.0
LOOKS: Final = "SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE funcname IN ('claim_v1', 'active_lanes_v1')"


async def alone(workers: int, seconds: float) -> dict[str, Any]:
    """Measure on a server of its own."""
    async with serving() as server:
        return await measure(server, workers, seconds)


async def measure(server: Server, workers: int, seconds: float) -> dict[str, Any]:
    """Start the workers, let them come to rest, and watch."""
    async with contextlib.AsyncExitStack() as stack:
        ours = Jobqueue()
        await server.execute("postgres", "ALTER SYSTEM SET track_functions = 'all'")
        await server.execute("postgres", "SELECT pg_reload_conf()")
        dsn = await server.fresh(ours)
        connection = await asyncpg.connect(dsn)
        for number in range(workers):
            await stack.enter_async_context(running(ours.worker(dsn), server.directory / f"worker-{number}.log"))
        while await connection.fetchval("SELECT count(*) FROM jobqueue.worker") < workers:  # noqa: ASYNC110 - only the database knows
            await asyncio.sleep(0.1)
        await asyncio.sleep(SETTLE_S)
        pids = [row[0] for row in await connection.fetch("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")]
        looks, cpu = await connection.fetchval(LOOKS), cpu_s(pids)
        await asyncio.sleep(seconds)
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        found = {
            "workers": workers,
            "looks_per_s": float(await connection.fetchval(LOOKS) - looks) / seconds,
            "core_share": (cpu_s(pids) - cpu) / seconds,
        }
        await connection.close()
        return found


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    found = process.run(alone(chosen.workers, chosen.seconds))
    print(f"{found['workers']} idle worker processes: {found['looks_per_s']:.1f} looks for work a second in all (goal: <= 10)")
    print(f"the database: {found['core_share']:.1%} of a core (goal: <= 5 %)")
    if chosen.json:
        chosen.json.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
