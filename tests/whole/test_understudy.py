"""A handler that holds the interpreter for two leases costs no lease; a worker that is stopped for as long loses them all."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from jobqueue.worker.board import is_available
from tests.whole.roles import Roles, until

pytestmark = pytest.mark.skipif(not is_available(), reason="needs Linux: memory shared by a descriptor, and /proc")

LEASE_S = 5
HELD_S = 2 * LEASE_S + 1
WAYS = ["database", "http"] if os.environ.get("JOBQUEUE_TEST_LONG") else ["database"]
"""The suite holds the interpreter of one kind of worker; `make test-workers` of both."""
SETTINGS = {"JOBQUEUE_LEASE_SECONDS": str(LEASE_S), "JOBQUEUE_HANDLERS": "tests.whole.hogs", "JOBQUEUE_POLL_INTERVAL": "0.2"}


@pytest.fixture
async def roles(database: str, tmp_path: Path) -> AsyncIterator[Roles]:
    roles = Roles(database, tmp_path, dict(SETTINGS))
    try:
        await roles.start_api()
        roles.start("reaper")
        yield roles
    finally:
        roles.stop()


async def submit(client: httpx2.AsyncClient, job_type: str, seconds: float) -> str:
    body = {"payload": {"job_type": job_type, "data": {"seconds": seconds}}}
    answer = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": f"{job_type}-{seconds}"})
    return str(answer.json()["id"])


async def state(client: httpx2.AsyncClient, job: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"/v1/jobs/{job}")).json()
    return found


async def events(client: httpx2.AsyncClient, job: str) -> list[str]:
    return [event["type"] for event in (await client.get(f"/v1/jobs/{job}/events")).json()["items"]]


@pytest.mark.parametrize("way", WAYS)
async def test_a_handler_that_holds_the_interpreter_costs_nobody_a_lease(roles: Roles, way: str) -> None:
    if way == "http":
        roles.settings |= {"JOBQUEUE_DATABASE_URL": "", "JOBQUEUE_URL": roles.url, "JOBQUEUE_API_KEY": roles.api_key}
    roles.start("worker")
    async with roles.client() as client:
        beside = await submit(client, "neighbour", 1.0)

        async def is_running() -> bool:
            return bool((await state(client, beside))["status"] != "queued")

        await until(is_running, within_s=60)
        held = await submit(client, "hog", HELD_S)

        async def all_ended() -> bool:
            return all([(await state(client, job))["status"] == "succeeded" for job in (beside, held)])

        await until(all_ended, within_s=120)
        for job in (beside, held):
            assert (await state(client, job))["attempt"] == 1
            assert await events(client, job) == ["job.submitted", "job.leased", "job.started", "job.succeeded"]


async def test_a_stopped_worker_loses_its_leases_all_the_same(roles: Roles) -> None:
    worker = roles.start("worker")
    async with roles.client() as client:
        job = await submit(client, "neighbour", 600)

        async def is_started() -> bool:
            return bool((await state(client, job))["status"] == "running")

        await until(is_started, within_s=60)
        worker.send_signal(signal.SIGSTOP)
        try:

            async def is_lost() -> bool:
                return "job.lease_expired" in await events(client, job)

            await until(is_lost, within_s=60)
        finally:
            worker.kill()
            worker.send_signal(signal.SIGCONT)
            await asyncio.to_thread(worker.wait)
