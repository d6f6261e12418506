"""Handlers that hang or eat memory end by themselves, and nobody else pays for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.whole.roles import Roles, until

pytestmark = pytest.mark.timeout(400)

SETTINGS = {
    "JOBQUEUE_HANDLERS": "tests.whole.poison",
    "JOBQUEUE_LEASE_SECONDS": "5",
    "JOBQUEUE_CANCEL_GRACE_SECONDS": "1",
    "JOBQUEUE_RETRY_BASE_SECONDS": "0.1",
}
CRASHES_MAX = 3
SHARED_NEIGHBOURS = 5
LATER_NEIGHBOURS = 20


async def submit(client: httpx2.AsyncClient, job_type: str, **fields: Any) -> str:
    key = f"{job_type}-{fields.pop('key', 0)}"
    body = {"payload": {"job_type": job_type, "data": fields.pop("data", {})}, **fields}
    answer = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["id"])


async def read(client: httpx2.AsyncClient, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"/v1/jobs/{job_id}")).json()
    return found


async def test_handler_that_eats_memory_is_buried_after_three_crashes_and_its_neighbours_live(roles: Roles, tmp_path: Path) -> None:
    roles.settings = SETTINGS
    await roles.start_api()
    roles.start("reaper")
    roles.start("worker", "--processes", "2")
    go = tmp_path / "go"
    async with roles.client() as client:
        eater = await submit(client, "eater", data={"go": str(go)}, max_attempts=20)
        beside = [await submit(client, "neighbour", data={"go": str(go)}, key=number) for number in range(SHARED_NEIGHBOURS)]

        async def all_run() -> bool:
            return all([(await read(client, job_id))["status"] == "running" for job_id in (eater, *beside)])

        await until(all_run, within_s=120)
        go.touch()
        later = [await submit(client, "neighbour", key=f"later-{number}") for number in range(LATER_NEIGHBOURS)]

        async def buried() -> bool:
            return bool((await read(client, eater))["status"] == "dlq")

        await until(buried, within_s=120)
        job = await read(client, eater)
        assert job["error"]["type"] == "OutOfMemory"
        items = (await client.get(f"/v1/jobs/{eater}/events")).json()["items"]
        kinds = [item["type"] for item in items]
        assert kinds.count("job.lease_expired") == 1  # with its worker; then alone
        assert kinds.count("job.failed") == CRASHES_MAX - 1
        assert job["attempt"] == CRASHES_MAX

        async def all_fine() -> bool:
            return all([(await read(client, job_id))["status"] == "succeeded" for job_id in (*beside, *later)])

        await until(all_fine, within_s=120)


async def test_handlers_that_hang_for_ever_end_at_their_timeout(roles: Roles) -> None:
    roles.settings = SETTINGS
    await roles.start_api()
    roles.start("reaper")
    worker = roles.start("worker")
    async with roles.client() as client:
        deaf = await submit(client, "deaf", max_attempts=1)
        hung = await submit(client, "hung_thread", max_attempts=1)

        async def ended(job_id: str) -> dict[str, Any] | None:
            job = await read(client, job_id)
            return job if job["status"] == "dlq" else None

        for job_id in (deaf, hung):
            job = await until(lambda job_id=job_id: ended(job_id), within_s=120)
            assert job["error"] == {"type": "Timeout", "message": "the handler did not end within 2 s", "traceback": None}
        fine = await submit(client, "neighbour")
        await until(lambda: _succeeded(client, fine), within_s=60)
    assert worker.poll() is None


async def _succeeded(client: httpx2.AsyncClient, job_id: str) -> bool:
    return bool((await read(client, job_id))["status"] == "succeeded")
