"""What it costs to be seen: a drain with everything on, against everything off, in turn on one server.

    python -m bench.observed [--jobs 50000] [--rounds 3]

on: a metrics port that is scraped every second, 1 % of the jobs in a sampled trace whose spans go to a collector, JSON logs at info.
off: no metrics port (then nothing is counted), no traces, logs of errors only. The same jobs are traced in both databases.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import asyncpg
import uvloop

from bench.contender import NOOP, Command
from bench.ours import DRAINED, IS_DRAINED, Jobqueue
from bench.process import running
from bench.server import Server, fetch, serving
from jobqueue.aio.supervise import spawn
from jobqueue.apps.embedded import free_port

SAMPLED_IN: Final = 100
SCRAPE_S: Final = 1.0
FILL_BATCH: Final = 1_000
DRAIN_S_MAX: Final = 120.0
POLL_S: Final = 0.25
STARTED_S: Final = 4.0
COLLECTED_S_MAX: Final = 30.0
HOST: Final = "127.0.0.1"
TRACE_SOME: Final = f"""
    UPDATE jobqueue.job SET traceparent = '00-' || md5(job_id::text) || '-' || left(md5(job_id::text || 'span'), 16) || '-01'
    WHERE (data->>'n')::int % {SAMPLED_IN} = 0
"""
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
SPAN: Final = b"acquire_lease"
"""The name of the span of a claim, one a run, as it stands in what is sent."""


class Collector:
    """Answers whoever sends spans, and counts the claims among them."""

    def __init__(self) -> None:
        self.claims = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                (length,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                self.claims += (await reader.readexactly(length)).count(SPAN)
                writer.write(OK)
        writer.close()


class Watched(Jobqueue):
    """Ours, with its worker's environment as asked."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def worker(self, dsn: str) -> Command:
        """`jobqueue worker`."""
        command = super().worker(dsn)
        return Command(command.arguments, {**command.environment, **self._environment})


@contextlib.asynccontextmanager
async def everything_on(collector: Collector) -> AsyncIterator[dict[str, str]]:
    """Collect spans and scrape while the block runs; answers what a worker needs to know of it."""
    port = free_port()
    async with await asyncio.start_server(collector.answer, HOST, 0) as server, asyncio.TaskGroup() as group:
        scraping = spawn(group, _scrape(port), "scrape")
        yield {
            "JOBQUEUE_METRICS_PORT": str(port),
            "JOBQUEUE_LOG_LEVEL": "info",
            "JOBQUEUE_LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{server.sockets[0].getsockname()[1]}",
        }
        scraping.cancel()


async def _scrape(port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await reader.read()
            writer.close()
        await asyncio.sleep(SCRAPE_S)


async def drain(server: Server, ours: Watched, *, jobs: int, collector: Collector | None) -> tuple[float, float]:
    """Measure one drain; answers jobs a second and the worker's processor time in us a job, without that of its start."""
    own_s = await start_s(server, ours)
    dsn = await server.fresh(ours)
    async with ours.producer(dsn) as producer:
        for first in range(0, jobs, FILL_BATCH):
            await producer.submit_many(first, min(FILL_BATCH, jobs - first), job_type=NOOP)
    await fetch(dsn, TRACE_SOME)
    await server.settle_down(dsn)
    connection = await asyncpg.connect(dsn)
    try:
        async with running(ours.worker(dsn), server.directory / "worker.log") as process:
            ends_at = time.monotonic() + DRAIN_S_MAX
            while not await connection.fetchval(IS_DRAINED):
                process.check()
                assert time.monotonic() < ends_at, process.last_words()
                await asyncio.sleep(POLL_S)
            used_s = processor_s(process.pid)
            await _until_collected(collector, jobs)
    finally:
        await connection.close()
    succeeded, began_at, ended_at = (await fetch(dsn, DRAINED))[0]
    assert succeeded == jobs, f"{succeeded} of {jobs} jobs succeeded"
    return jobs / (float(ended_at) - float(began_at)), (used_s - own_s) / jobs * 1e6


async def start_s(server: Server, ours: Watched) -> float:
    """Measure what a worker uses to start and to find nothing."""
    dsn = await server.fresh(ours)
    async with running(ours.worker(dsn), server.directory / "worker.log") as process:
        await asyncio.sleep(STARTED_S)
        process.check()
        return processor_s(process.pid)


async def _until_collected(collector: Collector | None, jobs: int) -> None:
    """See that what is measured happened: every sampled job's claim was told."""
    if collector is None:
        return
    ends_at = time.monotonic() + COLLECTED_S_MAX
    while collector.claims < jobs // SAMPLED_IN:
        assert time.monotonic() < ends_at, f"{collector.claims} of {jobs // SAMPLED_IN} traces came"
        await asyncio.sleep(POLL_S)


def processor_s(pid: int) -> float:
    """Read how much processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main(jobs: int, rounds: int) -> None:
    """Measure and print."""
    taken: dict[str, list[tuple[float, float]]] = {"off": [], "on": []}
    async with serving() as server:
        for turn in range(rounds):
            for way in ("off", "on") if turn % 2 == 0 else ("on", "off"):
                if way == "off":
                    ours = Watched({"JOBQUEUE_LOG_LEVEL": "error", "JOBQUEUE_METRICS_PORT": "0"})
                    taken[way].append(await drain(server, ours, jobs=jobs, collector=None))
                else:
                    collector = Collector()
                    async with everything_on(collector) as environment:
                        taken[way].append(await drain(server, Watched(environment), jobs=jobs, collector=collector))
                speed, used_us = taken[way][-1]
                sys.stdout.write(f"{way:4} {speed:9,.0f} jobs/s  {used_us:6.1f} us of processor time a job\n")
    speeds = {way: statistics.median(speed for speed, _ in found) for way, found in taken.items()}
    used = {way: statistics.median(used_us for _, used_us in found) for way, found in taken.items()}
    sys.stdout.write(
        f"medians of {rounds}: on {speeds['on']:,.0f}/s, off {speeds['off']:,.0f}/s: {speeds['on'] / speeds['off']:.2f}x;"
        f" processor time a job {used['on']:.1f} us, {used['off']:.1f} us: {used['on'] / used['off']:.2f}x\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    uvloop.run(main(arguments.jobs, arguments.rounds))
