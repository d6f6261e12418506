"""Every row of two real files goes in over HTTP, through two workers one of which is killed, and comes home with the right result."""

from __future__ import annotations

import csv
import importlib.resources
from typing import Any

import httpx2
import pytest

from tests.whole.handlers import distance_km
from tests.whole.roles import Roles, each, until

pytestmark = pytest.mark.timeout(240)

LEASE_S = 5


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

        await until(lambda: at_least(succeeded, len(rows) // 2), within_s=90)
        victim.kill()
        await until(lambda: at_least(succeeded, len(rows)), within_s=90)

        async def check(numbered: tuple[int, tuple[str, dict[str, str]]]) -> None:
            number, (job_type, row) = numbered
            answer = await client.get(f"/v1/jobs/{ids[number]}/result")
            assert answer.status_code == 200, answer.text
            assert answer.json()["result"] == expected(job_type, row)

        await each(enumerate(rows), check)
        await check_a_lease_was_lost_and_recovered(client, ids)


async def at_least(count: Any, wanted: int) -> bool:
    """Whether a count has got there."""
    return bool(await count() >= wanted)


async def check_a_lease_was_lost_and_recovered(client: httpx2.AsyncClient, ids: list[str]) -> None:
    """The kill must have hit jobs, else nothing was shown."""

    async def lost(job_id: str) -> bool:
        items = (await client.get(f"/v1/jobs/{job_id}/events")).json()["items"]
        return any(item["type"] == "job.lease_expired" for item in items)

    assert sum(await each(ids, lost)) >= 1
