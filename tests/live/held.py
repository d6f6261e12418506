"""Hold transactions open beside live streams and see that nothing else waits for them.

python -m tests.live.held --seconds 60

A stranger's write transaction and a caller's own with `jobqueue.submit` in it stay open all the while. Jobs of others go on, and each of
their events must reach a subscriber within a second of its commit; after the caller's commit its job must be told as well, and nothing be
missing.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from typing import Any, Final

import asyncpg
import websockets

from tests.live.world import HOST, SECRET, World, history_of, open_world
from tests.programs import PROGRAM, environment

REACH_S_MAX: Final = 1.0
GAP_S: Final = 0.1
LAST_S_MAX: Final = 20.0


class Told:
    """What one subscriber was told, and when."""

    def __init__(self) -> None:
        self.cursors: list[int] = []
        self.at_s: dict[tuple[str, str], float] = {}

    async def listen(self, world: World, ready: asyncio.Event) -> None:
        headers = {"Authorization": f"Bearer {world.key}"}
        async with websockets.connect(f"ws://{HOST}:{world.port}/ws/jobs", additional_headers=headers, compression=None) as socket:
            async for said in socket:
                message = json.loads(said)
                if message["type"] == "ready":
                    ready.set()
                    continue
                self.cursors.append(int(message["cursor"]))
                self.at_s[message["job"]["id"], message["type"]] = time.monotonic()


async def run(*, seconds: float) -> dict[str, Any]:
    """Run it; answers the report."""
    async with open_world() as world:
        settings = environment(DATABASE_URL=world.server.dsn(), API_SECRET_KEY=SECRET, JOBQUEUE_METRICS_PORT="0")
        reaper = subprocess.Popen([*PROGRAM, "reaper"], env=settings, stderr=subprocess.DEVNULL)
        told, ready = Told(), asyncio.Event()
        listening = asyncio.create_task(told.listen(world, ready))
        try:
            await asyncio.wait_for(ready.wait(), 20)
            waits_s, held_job = await _hold(world, told, seconds)
            raw = await asyncpg.connect(world.server.dsn())
            history: list[Any] = []
            deadline_s = time.monotonic() + LAST_S_MAX
            while time.monotonic() < deadline_s:
                history = await history_of(raw)
                if told.cursors == [entry[0] for entry in history] and any(entry[1] == held_job for entry in history):
                    break
                await asyncio.sleep(0.1)
            await raw.close()
        finally:
            listening.cancel()
            reaper.kill()
            reaper.wait()
    is_whole = told.cursors == [entry[0] for entry in history]
    is_held_told = (held_job, "job.submitted") in told.at_s
    return {
        "verdict": "passed" if is_whole and is_held_told and waits_s and max(waits_s) <= REACH_S_MAX else "failed",
        "held_s": seconds,
        "events": len(waits_s),
        "reach_s_p50": round(statistics.median(waits_s), 3),
        "reach_s_max": round(max(waits_s), 3),
        "none_missing": is_whole,
        "job_of_the_held_transaction_told": is_held_told,
    }


async def _hold(world: World, told: Told, seconds: float) -> tuple[list[float], str]:
    """Hold both transactions open while others' jobs go on; answers how long each event took, and the held job's id."""
    stranger, caller = [await asyncpg.connect(world.server.dsn()) for _ in range(2)]
    await stranger.execute("CREATE TABLE public.theirs (x int)")
    engine, waits_s, expected = world.engine, [], []
    async with stranger.transaction():
        await stranger.execute("INSERT INTO public.theirs VALUES (1)")
        async with caller.transaction():
            held_job = str(
                await caller.fetchval(
                    "SELECT jobqueue.submit(tenant => $1, job_type => 'held', data => '{}', idempotency_key => 'held')", world.caller.tenant
                )
            )
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                job_id = await engine.submit(world.caller)
                expected.append((str(job_id), "job.submitted", time.monotonic()))
                lease = await engine.claim_one()
                await engine.settle(lease)
                expected.append((str(job_id), "job.succeeded", time.monotonic()))
                await asyncio.sleep(GAP_S)
            await asyncio.sleep(REACH_S_MAX)
            waits_s = [told.at_s.get((job, kind), float("inf")) - at_s for job, kind, at_s in expected]
    await stranger.close()
    await caller.close()
    return waits_s, held_job


def main() -> None:
    """Read the command line, run, print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    report = asyncio.run(run(seconds=parser.parse_args().seconds))
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    sys.exit(0 if report["verdict"] == "passed" else 1)


if __name__ == "__main__":
    main()
