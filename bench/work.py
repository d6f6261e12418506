"""Measure workers over HTTP: a thousand idle long polls at one API process, and how many jobs go through it.

    python -m bench.work [--parts polls,bare,sdk] [--polls 1000] [--jobs 40000] [--json FILE]

polls: the API's memory, the database connections it holds, submits beside the polls against submits without, and how soon a job that
is submitted reaches one of them. bare: clients that claim 200 and settle 200, in turn, without running anything. sdk: `jobqueue worker`
processes over HTTP, with a handler that does nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import orjson

from bench import process
from bench.contender import NOOP, TENANTS, Command
from bench.http_client import HttpClient, Refused
from bench.measure import percentile
from bench.ours import COMMAND, DRAINED, ENVIRONMENT, HOST, IS_DRAINED, InProcess, Jobqueue, _make_keys, _until_ready
from bench.process import Running, running
from bench.server import Server, fetch, serving
from jobqueue.apps.embedded import free_port

POLLED: Final = "polled"
BATCH: Final = 200
BARE_CLIENTS: Final = 4
SDK_WORKERS: Final = 2
SUBMITTERS: Final = 4
WARM_UP: Final = 50
LOAD_BATCH: Final = 1_000
WAIT_S: Final = (20.0, 30.0)
OPENED_AT_ONCE: Final = 50
SETTLE_DOWN_S: Final = 2.0


@dataclass
class Deployment:
    """One API process on a fresh database, and a tenant's key."""

    dsn: str
    port: int
    key: str
    process: Running
    clients: list[HttpClient] = field(default_factory=list)

    async def client(self) -> HttpClient:
        """Open a connection that carries the key."""
        client = await HttpClient.connect(HOST, self.port, {"Authorization": f"Bearer {self.key}"})
        self.clients.append(client)
        return client

    def memory_mib(self) -> float:
        """Say what the API process holds in memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def cpu_s(self) -> float:
        """Say how much processor time the API process has used; unlike a clock, other processes change it little."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def connections(self) -> tuple[int, int]:
        """Count the API's database connections, and those that do something or hold a transaction."""
        rows = await fetch(self.dsn, "SELECT state FROM pg_stat_activity WHERE application_name LIKE 'jobqueue-%'")
        return len(rows), sum(row[0] != "idle" for row in rows)


@asynccontextmanager
async def deployed(server: Server, jobqueue: Jobqueue) -> AsyncIterator[Deployment]:
    """Start the API."""
    dsn = await server.fresh(jobqueue)
    port = free_port()
    settings = {"JOBQUEUE_DATABASE_URL": dsn, "JOBQUEUE_API_SECRET_KEY": secrets.token_hex(32)}
    command = Command([*COMMAND, "api", "--host", HOST, "--port", str(port)], ENVIRONMENT | settings)
    key = (await _make_keys(dsn))[0]
    async with running(command, server.directory / "api.log") as process:
        await _until_ready(port, process)
        deployment = Deployment(dsn, port, key, process)
        try:
            yield deployment
        finally:
            for client in deployment.clients:
                client.close()


async def post(client: HttpClient, path: bytes, body: Any, *, expected: int = 200) -> Any:
    """Post JSON; answers JSON."""
    return orjson.loads(await client.post(path, orjson.dumps(body), idempotency_key=str(uuid4()), expected=expected))


async def claim(client: HttpClient, worker: str, *, job_type: str, jobs_max: int, wait_s: float) -> list[Any]:
    """Claim once."""
    body = {"worker_id": worker, "claim_id": str(uuid4()), "job_types": [job_type], "max_jobs": jobs_max, "wait_seconds": wait_s}
    return list((await post(client, b"/v1/leases", body))["leases"])


async def settle(client: HttpClient, leases: list[Any]) -> None:
    """Say that all of them succeeded."""
    outcomes = [{"job_id": one["job"]["id"], "lease_token": one["lease_token"], "outcome": "succeeded", "ran_seconds": 0} for one in leases]
    results = (await post(client, b"/v1/leases/settle", {"outcomes": outcomes}))["results"]
    assert all(one["status"] == "settled" for one in results), results


# ------------------------------------------------------------------------------------------------------- polls


async def submit_times_ms(deployment: Deployment, count: int) -> list[float]:
    """Submit with some clients at once; answers how long each took."""
    times: list[float] = []

    async def go_on() -> None:
        client = await deployment.client()
        for number in range(WARM_UP + count // SUBMITTERS):
            begun = time.perf_counter()
            await post(client, b"/v1/jobs", {"payload": {"job_type": NOOP, "data": {"n": number}}}, expected=201)
            if number >= WARM_UP:
                times.append((time.perf_counter() - begun) * 1000)

    async with asyncio.TaskGroup() as group:
        for _ in range(SUBMITTERS):
            group.create_task(go_on())
    return times


class Polls:
    """Workers that poll and poll again; each settles what it gets, and says when it came."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.came_at: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.settled = asyncio.Event()
        self.refused = 0

    async def poll_on(self, number: int) -> None:
        """Poll until cancelled."""
        client = await self._deployment.client()
        while True:
            try:
                leases = await claim(client, f"poll-{number}", job_type=POLLED, jobs_max=10, wait_s=random.uniform(*WAIT_S))
            except Refused:  # 503: come back
                self.refused += 1
                await asyncio.sleep(1)
                continue
            if leases:
                self.came_at.set_result(time.perf_counter())
                await settle(client, leases)
                self.settled.set()


async def measure_polls(server: Server, jobqueue: Jobqueue, arguments: argparse.Namespace) -> dict[str, float]:
    """Take all figures of idle polls."""
    async with deployed(server, jobqueue) as deployment:
        alone = await submit_times_ms(deployment, arguments.samples)
        memory_before = deployment.memory_mib()
        polls = Polls(deployment)
        async with asyncio.TaskGroup() as group:
            polling = []
            for number in range(arguments.polls):
                polling.append(group.create_task(polls.poll_on(number)))
                if number % OPENED_AT_ONCE == OPENED_AT_ONCE - 1:
                    await asyncio.sleep(0.1)
            await asyncio.sleep(SETTLE_DOWN_S)
            connections, busy = 0, []
            for _ in range(20):
                connections, now_busy = await deployment.connections()
                busy.append(now_busy)
                await asyncio.sleep(0.05)
            memory = deployment.memory_mib()
            beside = await submit_times_ms(deployment, arguments.samples)
            reached = await pick_up_ms(deployment, polls, arguments.pickups)
            for task in polling:
                task.cancel()
        return {
            "polls": arguments.polls,
            "polls_refused": polls.refused,
            "api_memory_mib_before": memory_before,
            "api_memory_mib": memory,
            "api_memory_mib_after": deployment.memory_mib(),
            "database_connections": connections,
            "database_connections_busy_mean": sum(busy) / len(busy),
            "submit_p50_ms_alone": percentile(alone, 0.5),
            "submit_p99_ms_alone": percentile(alone, 0.99),
            "submit_p50_ms_beside": percentile(beside, 0.5),
            "submit_p99_ms_beside": percentile(beside, 0.99),
            "submit_p99_ratio": percentile(beside, 0.99) / percentile(alone, 0.99),
            "reached_p50_ms": percentile(reached, 0.5),
            "reached_p99_ms": percentile(reached, 0.99),
        }


async def pick_up_ms(deployment: Deployment, polls: Polls, count: int) -> list[float]:
    """Submit a job and see how soon it reaches a poll, from before the submit was sent."""
    client = await deployment.client()
    times = []
    for number in range(count):
        polls.came_at = asyncio.get_running_loop().create_future()
        polls.settled.clear()
        begun = time.perf_counter()
        await post(client, b"/v1/jobs", {"payload": {"job_type": POLLED, "data": {"n": number}}}, expected=201)
        times.append((await polls.came_at - begun) * 1000)
        await polls.settled.wait()
        await asyncio.sleep(0.02)
    return times


# -------------------------------------------------------------------------------------------------- throughput


async def load(jobqueue: Jobqueue, server: Server, dsn: str, jobs: int) -> None:
    """Store jobs of the one tenant."""
    async with jobqueue.producer(dsn) as producer:
        assert isinstance(producer, InProcess)
        producer._tenant_ids = producer._tenant_ids[:1] * TENANTS
        for first in range(0, jobs, LOAD_BATCH):
            await producer.submit_many(first, LOAD_BATCH, job_type=NOOP)
    await server.settle_down(dsn)


async def measure_bare(server: Server, jobqueue: Jobqueue, arguments: argparse.Namespace) -> dict[str, float]:
    """Have bare clients claim and settle everything."""
    async with deployed(server, jobqueue) as deployment:
        await load(jobqueue, server, deployment.dsn, arguments.jobs)

        async def work_on(number: int) -> None:
            client = await deployment.client()
            while leases := await claim(client, f"bare-{number}", job_type=NOOP, jobs_max=BATCH, wait_s=0.5):
                await settle(client, leases)

        used_before_s = deployment.cpu_s()
        async with asyncio.TaskGroup() as group:
            for number in range(BARE_CLIENTS):
                group.create_task(work_on(number))
        return await drained(deployment, arguments.jobs, used_before_s)


async def measure_sdk(server: Server, jobqueue: Jobqueue, arguments: argparse.Namespace) -> dict[str, float]:
    """Have real workers run everything."""
    async with deployed(server, jobqueue) as deployment:
        await load(jobqueue, server, deployment.dsn, arguments.jobs)
        environment = ENVIRONMENT | {
            "JOBQUEUE_URL": f"http://{HOST}:{deployment.port}",
            "JOBQUEUE_API_KEY": deployment.key,
            "JOBQUEUE_WORKER_CONCURRENCY": str(BATCH),
        }
        used_before_s = deployment.cpu_s()
        async with contextlib.AsyncExitStack() as stack:
            for number in range(SDK_WORKERS):
                await stack.enter_async_context(
                    running(Command([*COMMAND, "worker"], environment), server.directory / f"worker-{number}.log")
                )
            while not (await fetch(deployment.dsn, IS_DRAINED))[0][0]:  # noqa: ASYNC110 - it is another process that ends
                await asyncio.sleep(0.2)
        return await drained(deployment, arguments.jobs, used_before_s)


async def drained(deployment: Deployment, jobs: int, used_before_s: float) -> dict[str, float]:
    """Read how long it took out of the history, and see that every job ran."""
    ((count, began_at, ended_at),) = await fetch(deployment.dsn, DRAINED)
    seconds = ended_at - began_at
    assert count == jobs, f"{count} of {jobs} jobs succeeded"
    return {
        "jobs": jobs,
        "jobs_per_second": jobs / float(seconds),
        "jobs_per_api_cpu_second": jobs / (deployment.cpu_s() - used_before_s),
        "api_memory_mib": deployment.memory_mib(),
    }


PARTS: Final = {"polls": measure_polls, "bare": measure_bare, "sdk": measure_sdk}


async def run(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Take the parts asked for."""
    figures = {}
    async with serving() as server:
        for part in arguments.parts.split(","):
            figures[part] = await PARTS[part](server, Jobqueue(), arguments)
            show(part, figures[part])
    return figures


def show(part: str, found: dict[str, float]) -> None:
    """Print a part's figures, as soon as they are there."""
    print(part)
    for name, figure in found.items():
        print(f"  {name:32} {figure:12,.2f}", flush=True)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.work", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--polls", type=int, default=1_000)
    parser.add_argument("--samples", type=int, default=2_000, help="submits that are timed")
    parser.add_argument("--pickups", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=40_000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    figures = process.run(run(arguments))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
