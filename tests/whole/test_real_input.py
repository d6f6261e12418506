"""Every row of two real files goes in over HTTP, through two workers one of which is killed, and comes home with the right result."""

from __future__ import annotations

import asyncio
import csv
import importlib.resources
import subprocess
from functools import partial
from typing import Any

import asyncpg
import pytest

from tests.whole.handlers import distance_km
from tests.whole.roles import Roles, each, until

pytestmark = pytest.mark.timeout(240)

LEASE_S = 5
OF_WORKER = "e.worker_id = ANY (ARRAY(SELECT w.worker_id FROM jobqueue.worker w WHERE w.name LIKE $1))"


def rows_of(name: str) -> list[dict[str, str]]:
    """The rows of a CSV file of the vega_datasets package."""
    text = importlib.resources.files("vega_datasets").joinpath("_data", name).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def expected(job_type: str, row: dict[str, str]) -> dict[str, Any]:
    """What the handler must answer, worked out here."""
    if job_type == "airport_distance":
        return {"iata": row["iata"], "km": distance_km(float(row["latitude"]), float(row["longitude"])), "fields": len(row)}
    return {"date": row["date"], "range": round(float(row["temp_max"]) - float(row["temp_min"]), 6), "fields": len(row)}


async def test_every_row_is_processed_once_though_a_worker_is_killed_half_way(roles: Roles) -> None:
    roles.settings = {
        "JOBQUEUE_HANDLERS": "tests.whole.handlers",
        "JOBQUEUE_LEASE_SECONDS": str(LEASE_S),
        "JOBQUEUE_WORKER_CONCURRENCY": "5",
        "JOBQUEUE_LOG_LEVEL": "warning",
    }
    await roles.start_api()
    rows = [("airport_distance", row) for row in rows_of("airports.csv")]
    rows += [("weather_range", row) for row in rows_of("seattle-weather.csv")]
    assert len(rows) == 3376 + 1461
    async with roles.client() as client:

        async def submit(numbered: tuple[int, tuple[str, dict[str, str]]]) -> str:
            number, (job_type, row) = numbered
            body = {"payload": {"job_type": job_type, "data": row}, "max_attempts": 20}
            answer = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": f"row-{number}"})
            assert answer.status_code == 201, answer.text
            return str(answer.json()["id"])

        ids = await each(enumerate(rows), submit)
        assert len(set(ids)) == len(rows)

        roles.start("reaper")
        victim = roles.start("worker")
        roles.start("worker")

        async def succeeded() -> int:
            return int((await client.get("/v1/jobs/stats")).json()["by_status"]["succeeded"])

        await until(lambda: at_least(succeeded, len(rows) // 4), within_s=90)
        victim.kill()
        while not await lost_a_lease(roles.dsn, victim):  # it was killed between two claims
            victim = roles.start("worker")
            await until(partial(held_by, roles.dsn, victim), within_s=30)
            victim.kill()
        await until(lambda: at_least(succeeded, len(rows)), within_s=90)

        async def check(numbered: tuple[int, tuple[str, dict[str, str]]]) -> None:
            number, (job_type, row) = numbered
            answer = await client.get(f"/v1/jobs/{ids[number]}/result")
            assert answer.status_code == 200, answer.text
            assert answer.json()["result"] == expected(job_type, row)

        await each(enumerate(rows), check)


async def at_least(count: Any, wanted: int) -> bool:
    """Whether a count has got there."""
    return bool(await count() >= wanted)


async def lost_a_lease(dsn: str, killed: subprocess.Popen[bytes]) -> bool:
    """Wait until a killed worker holds nothing any more; answers whether a lease of it ran out, or it had settled them all."""
    killed.wait()
    while await held_by(dsn, killed):
        await asyncio.sleep(0.05)
    return bool(await ask(dsn, f"SELECT count(*) FROM jobqueue.event e WHERE e.type = 'lease_expired' AND {OF_WORKER}", killed))


async def held_by(dsn: str, worker: subprocess.Popen[bytes]) -> int:
    """How many leases a worker holds."""
    return await ask(dsn, f"SELECT count(*) FROM jobqueue.lease e WHERE {OF_WORKER}", worker)


async def ask(dsn: str, query: str, worker: subprocess.Popen[bytes]) -> int:
    """Count something of a worker, which is named after its process."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(query, f"%-{worker.pid}-%"))
    finally:
        await connection.close()
