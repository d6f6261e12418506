"""10,000 echo jobs from 16 clients: each exactly one success, each with the history of a plain success."""

from __future__ import annotations

import asyncpg
import pytest

from tests.whole.roles import Roles, each, until

pytestmark = pytest.mark.timeout(240)

JOBS = 10_000
READ_OVER_HTTP = 1_000
ROWS = """
SELECT types, count(*) FROM (SELECT array_agg(type ORDER BY seq) AS types FROM jobqueue.event GROUP BY job_id) j GROUP BY 1
"""


async def test_each_of_ten_thousand_jobs_succeeds_once_with_a_plain_history(roles: Roles) -> None:
    roles.settings = {"JOBQUEUE_LOG_LEVEL": "warning"}
    await roles.start_api()
    roles.start("worker")
    roles.start("reaper")
    async with roles.client() as client:

        async def submit(number: int) -> str:
            body = {"payload": {"job_type": "echo", "data": {"number": number}}}
            answer = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": f"echo-{number}"})
            assert answer.status_code == 201, answer.text
            return str(answer.json()["id"])

        ids = await each(range(JOBS), submit)

        async def all_succeeded() -> bool:
            by_status = (await client.get("/v1/jobs/stats")).json()["by_status"]
            return bool(by_status["succeeded"] == JOBS)

        await until(all_succeeded, within_s=60)

        async def history(job_id: str) -> list[str]:
            items = (await client.get(f"/v1/jobs/{job_id}/events")).json()["items"]
            assert [item["seq"] for item in items] == sorted({item["seq"] for item in items})
            return [item["type"] for item in items]

        histories = await each(ids[:: JOBS // READ_OVER_HTTP], history)
    plain = ["job.submitted", "job.leased", "job.started", "job.succeeded"]
    assert [item for item in histories if item != plain] == []
    assert await rows(roles.dsn) == [(["submitted", "succeeded"], JOBS)]  # what a plain history is made of, of every job


async def rows(dsn: str) -> list[tuple[list[str], int]]:
    """What rows of history jobs have, and how many jobs."""
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(ROWS)]
    finally:
        await connection.close()
