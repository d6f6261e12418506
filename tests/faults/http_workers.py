"""Workers that are stopped and resumed, signalled, and blocked: real processes, over HTTP and on the database.

    python -m tests.faults.http_workers [--cycles 200] [--only signalled blocked]

stopped: a worker over HTTP is stopped with a job in its hands, its lease ends, another worker does the job; resumed, it reports its own
end, which nobody may accept. signalled: SIGTERM with a grace longer and shorter than the job, and a second SIGTERM; attempts are refunded
and the process ends within its grace and 2 s. blocked: a handler blocks the loop for three leases and keeps its job. dropped: a proxy
loses the answers to a claim and to a settle. left: a client leaves while its poll waits. Ends with 1 on any finding.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import httpx2

from jobqueue import AsyncClient, AsyncJobHandle
from jobqueue.aio.clock import SystemClock
from jobqueue.domain.errors import Unavailable
from jobqueue.domain.lease import Settlement, SettleStatus
from jobqueue.domain.outcome import Outcome, OutcomeKind
from jobqueue.operations import leases
from jobqueue.operations.database import Database, open_database
from jobqueue.worker.backends.http import HttpBackend, HttpOptions
from tests import postgres
from tests.engine import TERMS, UP_S
from tests.whole.roles import Roles, until

LEASE_S: Final = 5
"""The shortest a worker over HTTP can have."""
BLOCK_LEASES: Final = 3.0
WAYS: Final = ("http", "database")
PARTS: Final = ("stopped", "signalled", "blocked", "dropped", "left")
LONG_S: Final = 60.0
HOLD_S: Final = 0.3
EXIT_MARGIN_S: Final = 2.0
START_S_MAX: Final = 90.0
DIED_OF_ABORT_S: Final = 2.0
START_TOLD_S: Final = 0.5
"""How much later than it was a start may be told to have been."""


class Finding(AssertionError):
    """What must not happen has happened."""


@dataclass
class Deployment:
    """An API and a reaper on a database of their own, and what looks at them. figures: what was counted, and measured in seconds."""

    roles: Roles
    queue: AsyncClient
    db: Database
    raw: Any
    log_dir: Path
    exit_margin_s: float = EXIT_MARGIN_S
    figures: dict[str, float] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def fetch(self, statement: str, *values: Any) -> list[Any]:
        """Look at the database; the scenarios share one connection."""
        async with self.turn:
            return list(await self.raw.fetch(statement, *values))

    async def fetch_value(self, statement: str, *values: Any) -> Any:
        """Like fetch, the first column of the first row, None when there is none."""
        rows = await self.fetch(statement, *values)
        return rows[0][0] if rows else None

    def worker(self, way: str, queue: str, **settings: str) -> subprocess.Popen[bytes]:
        """Start a worker that takes the jobs of one queue, over HTTP or on the database."""
        reach = (
            {"JOBQUEUE_URL": self.roles.url, "JOBQUEUE_API_KEY": self.roles.api_key}
            if way == "http"
            else {"JOBQUEUE_DATABASE_URL": self.roles.dsn}
        )
        given = {
            "JOBQUEUE_WORKER_QUEUES": queue,
            "JOBQUEUE_HANDLERS": "tests.faults.worker_handlers",
            "JOBQUEUE_LEASE_SECONDS": str(LEASE_S),
            "JOBQUEUE_METRICS_PORT": "0",
            "JOBQUEUE_TENANT_MAX_CONCURRENT": "0",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("JOBQUEUE_", "DATABASE_"))}
        with (self.log_dir / f"worker-{queue}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "jobqueue.cli.main", "worker"],
                env={**environment, **given, **reach, **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.roles.processes.append(process)
        return process

    async def until_running(self, handle: AsyncJobHandle) -> None:
        """Wait until a job's handler has begun; on a busy machine a short one may be over by then."""

        async def is_running() -> bool:
            return (await handle.get()).status in ("running", "succeeded")

        await until(is_running, within_s=START_S_MAX)


@contextlib.asynccontextmanager
async def deployed(dsn: str, directory: Path, *, exit_margin_s: float) -> AsyncIterator[Deployment]:
    """Start everything but workers."""
    roles = Roles(
        dsn, directory, {"JOBQUEUE_LEASE_SECONDS": str(LEASE_S), "JOBQUEUE_METRICS_OPEN": "true", "JOBQUEUE_LOG_LEVEL": "warning"}
    )
    raw = await asyncpg.connect(dsn, timeout=30)
    db = await open_database(dsn, size=2, application_name="tests")
    try:
        await roles.start_api()
        roles.start("reaper")
        async with AsyncClient(roles.url, api_key=roles.api_key) as queue:
            yield Deployment(roles, queue, db, raw, directory, exit_margin_s)
    finally:
        roles.stop()
        await db.close()
        raw.terminate()


async def gone(process: subprocess.Popen[bytes], what: str, *, within_s: float) -> float:
    """Wait for a process's end; answers how long it took."""
    begun = time.monotonic()
    while process.poll() is None:
        if time.monotonic() - begun > within_s:
            raise Finding(f"{what}: the worker is still there {within_s:g} s after its signal")
        await asyncio.sleep(0.02)
    if process.returncode != 0:
        raise Finding(f"{what}: the worker ended with {process.returncode}")
    return time.monotonic() - begun


# ----------------------------------------------------------------------------------------------------- stopped


async def stop_and_resume(deployment: Deployment, cycles: int) -> None:
    """Go through the cycles; counts how many late ends were refused and accepted."""
    process = deployment.worker("http", "stopped", JOBQUEUE_WORKER_CONCURRENCY="1")
    refused_before = await stale_writes(deployment)
    accepted = 0
    for _ in range(cycles):
        accepted += await stop_once(deployment, process)
    refused = await stale_writes(deployment) - refused_before
    deployment.figures.update(cycles=cycles, accepted=accepted, refused=refused)


async def stop_once(deployment: Deployment, process: subprocess.Popen[bytes]) -> int:
    """One cycle; answers 1 when the resumed worker's word was taken."""
    handle = await deployment.queue.submit("hold", {"seconds": HOLD_S}, queue="stopped")
    first = await until(lambda: token_of(deployment, handle.id), within_s=START_S_MAX, every_s=0.005)
    process.send_signal(signal.SIGSTOP)
    try:
        await deployment.fetch("UPDATE jobqueue.lease SET expires_at = '-infinity' WHERE job_id = $1", handle.id)
        await leases.recover(deployment.db, TERMS, resumed_for_s=UP_S)
        await until(lambda: finish_as_another(deployment, handle.id), within_s=START_S_MAX)
    finally:
        process.send_signal(signal.SIGCONT)
    sentinel = await deployment.queue.submit("hold", {"seconds": 0}, queue="stopped")  # its only slot is free again, so it has reported
    await sentinel.result(timeout=START_S_MAX)
    if await handle.result(timeout=START_S_MAX) != "another":
        return 1
    taken = await deployment.fetch_value(
        "SELECT count(*) FROM jobqueue.outcome WHERE job_id = $1 AND token = $2 AND state = 'succeeded'", handle.id, first
    )
    return int(taken)


async def token_of(deployment: Deployment, job_id: UUID) -> UUID | None:
    """Answer the token of a job that is leased."""
    token: UUID | None = await deployment.fetch_value("SELECT token FROM jobqueue.lease WHERE job_id = $1", job_id)
    return token


async def finish_as_another(deployment: Deployment, job_id: UUID) -> bool:
    """Claim the job as another worker and end it."""
    asked = {"worker_id": "another", "claim_id": str(uuid4()), "queues": ["stopped"], "job_types": ["hold"], "max_jobs": 1}
    for lease in (await deployment.queue.call("POST", "/v1/leases", body=asked))["leases"]:
        if UUID(lease["job"]["id"]) == job_id:
            body = {"lease_token": lease["lease_token"], "result": "another"}
            await deployment.queue.call("POST", f"/v1/jobs/{job_id}/complete", body=body)
            return True
    return False


async def stale_writes(deployment: Deployment) -> int:
    """Read how many late writes the API has refused."""
    async with httpx2.AsyncClient(base_url=deployment.roles.url) as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return int(float(next((line.split()[1] for line in lines if line.startswith("stale_writes_refused_total ")), "0")))


# --------------------------------------------------------------------------------------------------- signalled


async def signal_worker(deployment: Deployment, way: str, kind: str) -> None:
    """SIGTERM a worker while its job runs; raises Finding when it keeps the attempt or takes too long."""
    grace_s, seconds = {"finishes": (30.0, 3.0), "too-short": (1.0, LONG_S), "twice": (30.0, LONG_S)}[kind]
    queue = f"{way}-{kind}"
    process = deployment.worker(way, queue, JOBQUEUE_SHUTDOWN_GRACE_SECONDS=str(grace_s))
    handle = await deployment.queue.submit("hold", {"seconds": seconds}, queue=queue)
    await deployment.until_running(handle)
    process.send_signal(signal.SIGTERM)
    if kind == "twice":
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
    allowed_s = DIED_OF_ABORT_S if kind == "twice" else grace_s
    took_s = await gone(process, queue, within_s=allowed_s + deployment.exit_margin_s)
    deployment.figures[f"{queue}: exit, at most {allowed_s:g} + {deployment.exit_margin_s:g}"] = took_s
    job = await handle.get()
    seen = (job.status, job.attempt)
    if seen != (("succeeded", 1) if kind == "finishes" else ("queued", 0)):
        raise Finding(f"{queue}: the job is {seen} after the worker's end")


# ----------------------------------------------------------------------------------------------------- blocked


async def block_worker(deployment: Deployment, way: str, *, block_leases: float) -> None:
    """Block a worker's loop for some leases' length; raises Finding when its job was taken away meanwhile."""
    queue = f"{way}-blocked"
    process = deployment.worker(way, queue)
    handle = await deployment.queue.submit("block", {"seconds": block_leases * LEASE_S}, queue=queue)
    if await handle.result(timeout=START_S_MAX + 4 * LEASE_S) != "blocked to the end":
        raise Finding(f"{queue}: another result")
    job = await handle.get()
    assert job.started_at is not None
    assert job.finished_at is not None
    ran_s = (job.finished_at - job.started_at).total_seconds()
    if ran_s < block_leases * LEASE_S - START_TOLD_S:
        raise Finding(f"{queue}: the loop was blocked for {ran_s:g} s only")
    deployment.figures[f"{queue}: ran with leases of {LEASE_S}"] = ran_s
    types = [event.type async for event in handle.events()]
    if types != ["job.submitted", "job.leased", "job.started", "job.succeeded"]:
        raise Finding(f"{queue}: the job's history is {types}")
    process.send_signal(signal.SIGTERM)
    await gone(process, queue, within_s=LEASE_S + deployment.exit_margin_s)


# ----------------------------------------------------------------------------------------------------- dropped


class DroppingProxy:
    """Carries requests to the API and, while it is told to, closes the connection where the answer should come."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self.is_dropping = False
        self.url = ""

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        """Listen no more."""
        assert self._server is not None
        self._server.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_api, to_api = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.TaskGroup() as group:
                there = group.create_task(self._copy(reader, to_api, is_answer=False))
                await self._copy(from_api, writer, is_answer=True)
                there.cancel()
        finally:
            to_api.close()
            writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65_536):
                if is_answer and self.is_dropping:
                    break
                writer.write(chunk)
                await writer.drain()
        writer.close()


async def drop_answers(deployment: Deployment) -> None:
    """Lose the answer to a claim and to a settle; raises Finding when a job is lost or a settle counted twice."""
    proxy = DroppingProxy(deployment.roles.port)
    await proxy.open()
    handles = [await deployment.queue.submit("hold", {"seconds": n}, queue="dropped") for n in range(5)]
    options = HttpOptions(proxy.url, deployment.roles.api_key, "behind-proxy", ("dropped",), ("hold",), 5, "test")
    backend = HttpBackend(options, clock=SystemClock())
    await backend.open()
    try:
        proxy.is_dropping = True
        await _unanswered(backend.claim(jobs_max=5))
        rows = await deployment.fetch("SELECT token FROM jobqueue.lease WHERE job_id = ANY ($1)", [handle.id for handle in handles])
        proxy.is_dropping = False
        held = await backend.claim(jobs_max=5)
        if len(rows) != 5 or {lease.token for lease in held} != {row["token"] for row in rows}:
            raise Finding(f"{len(rows)} jobs were leased, {len(held)} came with the second answer")
        ended = [Settlement(lease.job_id, lease.token, lease.standing, Outcome(OutcomeKind.SUCCEEDED, "1", ran_s=0.0)) for lease in held]
        proxy.is_dropping = True
        await _unanswered(backend.settle(ended))
        proxy.is_dropping = False
        statuses = {answer.status for answer in await backend.settle(ended)}
        if statuses != {SettleStatus.REPLAYED}:
            raise Finding(f"settled again: {statuses}")
    finally:
        await backend.close()
        proxy.close()


async def _unanswered(call: Coroutine[Any, Any, Any]) -> None:
    try:
        await call
    except Unavailable:
        return
    raise Finding("the proxy let an answer through")


# -------------------------------------------------------------------------------------------------------- left


async def leave_while_waiting(deployment: Deployment) -> None:
    """Close the connection of a waiting poll; raises Finding when the job that comes is given to it all the same."""
    body = b'{"worker_id":"leaver","queues":["left"],"job_types":["hold"],"max_jobs":1,"wait_seconds":20}'
    head = f"POST /v1/leases HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {deployment.roles.api_key}\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", deployment.roles.port)
    writer.write(head.encode() + body)

    async def is_known() -> bool:
        return bool(await deployment.fetch_value("SELECT EXISTS (SELECT FROM jobqueue.worker WHERE name = 'leaver')"))

    await until(is_known, within_s=START_S_MAX)
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.2)
    handle = await deployment.queue.submit("hold", {"seconds": 0}, queue="left")
    asked = {"worker_id": "stayer", "queues": ["left"], "job_types": ["hold"], "max_jobs": 1, "wait_seconds": 5}
    (lease,) = (await deployment.queue.call("POST", "/v1/leases", body=asked, wait_s=5))["leases"]
    if (lease["job"]["id"], lease["attempt"], lease["crashes"]) != (str(handle.id), 1, 0):
        raise Finding(f"the job came as {lease['attempt']=}, {lease['crashes']=}")
    await deployment.queue.call("POST", f"/v1/jobs/{handle.id}/complete", body={"lease_token": lease["lease_token"]})


@dataclass(frozen=True)
class Amounts:
    """How much is done. exit_margin_s: what a process may take to end beyond its grace.

    are_side_by_side: all at once, which is quicker, and tells less of how soon a process ends.
    """

    cycles: int
    block_leases: float = BLOCK_LEASES
    exit_margin_s: float = EXIT_MARGIN_S
    are_side_by_side: bool = False


async def run_all(dsn: str, directory: Path, amounts: Amounts, *, only: Sequence[str] = PARTS) -> dict[str, float]:
    """Do the parts named; answers what they showed. Raises Finding, in a group."""
    async with deployed(dsn, directory, exit_margin_s=amounts.exit_margin_s) as deployment:
        parts: dict[str, list[Coroutine[Any, Any, Any]]] = {
            "stopped": [stop_and_resume(deployment, amounts.cycles)],
            "signalled": [signal_worker(deployment, way, kind) for way in WAYS for kind in ("finishes", "too-short", "twice")],
            "blocked": [block_worker(deployment, way, block_leases=amounts.block_leases) for way in WAYS],
            "dropped": [drop_answers(deployment)],
            "left": [leave_while_waiting(deployment)],
        }
        async with asyncio.TaskGroup() as group:
            for part, scenarios in parts.items():
                for scenario in scenarios:
                    if part not in only:
                        scenario.close()
                        continue
                    task = group.create_task(scenario)
                    if not amounts.are_side_by_side:
                        await task
    if deployment.figures.get("accepted"):
        raise Finding(f"{deployment.figures['accepted']} late ends were accepted")
    return deployment.figures


async def main(arguments: argparse.Namespace) -> None:
    """Run on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-workers-") as directory:
        async with postgres.running_server() as server:
            await server.ensure_database("workers")
            await postgres.migrate(server.dsn("workers"))
            amounts = Amounts(arguments.cycles)
            figures = await run_all(server.dsn("workers"), Path(directory), amounts, only=arguments.only)
    for name, figure in sorted(figures.items()):
        sys.stdout.write(f"{name}: {figure:.2f}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    asyncio.run(main(parser.parse_args()))
