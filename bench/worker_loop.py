"""How many no-op jobs per second the worker's own loop can do: claim, run, settle over a backend that costs next to nothing.

    python -m bench.worker_loop [--jobs 300000] [--concurrency 100] [--round-trip-ms 1] [--handler async|yielding|thread] [--profile FILE]

It is the bound that Python sets: a real backend adds its own work to it. The leases are made as a driver would make them, one object a row.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import platform
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from jobqueue.domain.lease import Beat, BeatStatus, Directive, Lease, Settled, Settlement, SettleStatus
from jobqueue.domain.outcome import Standing
from jobqueue.domain.retry import RetryPolicy
from jobqueue.worker.events import BackendFailed, LoopLagged
from jobqueue.worker.options import WorkerOptions
from jobqueue.worker.registry import Registry
from jobqueue.worker.runtime import Worker

POLICY = RetryPolicy(attempts_max=3, crashes_max=3, delay_s_base=5.0, delay_s_max=3600.0)


class Source:
    """So many jobs, made as they are claimed; done is set when all are settled."""

    def __init__(self, jobs: int, round_trip_s: float) -> None:
        self.left = jobs
        self.unsettled = jobs
        self.round_trip_s = round_trip_s
        self.claims = 0
        self.settles = 0
        self.done = asyncio.Event()


class BenchBackend:
    """The cheapest backend that keeps the contract."""

    directive = Directive.RUN

    def __init__(self, source: Source) -> None:
        self._source = source

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def claim(self, *, jobs_max: int) -> list[Lease]:
        source = self._source
        await asyncio.sleep(source.round_trip_s)
        count = min(jobs_max, source.left)
        source.claims += 1
        first = source.left
        source.left -= count
        return [_lease(number) for number in range(first, first - count, -1)]

    async def wait(self, *, timeout_s: float) -> None:
        await asyncio.sleep(timeout_s)

    async def heartbeat(self, beats: Sequence[Beat]) -> list[BeatStatus]:
        return [BeatStatus.OK] * len(beats)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        source = self._source
        await asyncio.sleep(source.round_trip_s)
        source.settles += 1
        source.unsettled -= len(settlements)
        if not source.unsettled:
            source.done.set()
        return [Settled(settlement.job_id, SettleStatus.SETTLED, "succeeded") for settlement in settlements]


def _lease(number: int) -> Lease:
    return Lease(
        UUID(int=number), UUID(int=number), "demo", "default", "noop", "normal", Standing(1, 0, POLICY), '{"n":1}', 30.0, 3600.0, None, [],
        None, None, None, None,
    )  # fmt: skip


async def noop(_ctx: object, n: int) -> None:
    """End at the first step."""


async def yielding(_ctx: object, n: int) -> None:
    """Give way once."""
    del n
    await asyncio.sleep(0)


def plain(_ctx: object, n: int) -> None:
    """Run in a thread."""


def _show(event: object) -> None:
    """Print what went wrong, if anything does."""
    if isinstance(event, BackendFailed | LoopLagged):
        print(event)


async def measure(jobs: int, concurrency: int, round_trip_s: float, handler: Any) -> dict[str, Any]:
    """Run the jobs through a worker and time them."""
    registry = Registry()
    registry.job("noop")(handler)
    source = Source(jobs, round_trip_s)
    stop = asyncio.Event()
    worker = Worker(registry, lambda: BenchBackend(source), WorkerOptions(concurrency=concurrency), tell=_show)
    started, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run(stop, asyncio.Event()))
        await source.done.wait()
        elapsed_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
        stop.set()
    return {
        "jobs_per_s": round(jobs / elapsed_s), "cpu_us_per_job": round(cpu_s / jobs * 1e6, 1), "claims": source.claims,
        "settles": source.settles,
    }  # fmt: skip


def main() -> None:
    """Parse, measure, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=300_000)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--round-trip-ms", type=float, default=1.0)
    parser.add_argument("--handler", choices=["async", "yielding", "thread"], default="async")
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--profile")
    chosen = parser.parse_args()
    handler = {"async": noop, "yielding": yielding, "thread": plain}[chosen.handler]
    if chosen.uvloop:
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    profile = cProfile.Profile()
    if chosen.profile:
        profile.enable()
    figures = asyncio.run(measure(chosen.jobs, chosen.concurrency, chosen.round_trip_ms / 1000, handler))
    if chosen.profile:
        profile.disable()
        profile.dump_stats(chosen.profile)
    print(json.dumps({"handler": chosen.handler, "concurrency": chosen.concurrency, "python": platform.python_version(), **figures}))


if __name__ == "__main__":
    main()
