"""Load that remembers what was promised to it: every acknowledged submit and settle. What failed is tried again, as clients do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from tests.deployed.servers import connected

SUBMITTERS: Final = 6
RETRY_S: Final = (0.02, 0.1)
OWN_TYPE: Final = "settled_by_hand"
"""Claimed and settled over HTTP by this load itself, so that it knows what was acknowledged."""
DATABASE_TYPE: Final = "echo"
"""Run by the deployment's own workers."""


@dataclass
class Promised:
    """What came back as done. Statuses counts every answer; faults those the load had to try again for."""

    submitted: dict[str, str] = field(default_factory=dict)
    settled: dict[str, str] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    broken_lines: int = 0

    @property
    def acks(self) -> int:
        """How much was promised."""
        return len(self.submitted) + len(self.settled)

    @property
    def failed_answers(self) -> dict[int, int]:
        """5xx by status."""
        return {status: count for status, count in self.statuses.items() if status >= 500}


class Load:
    """Submits and settles against one or more API processes until told to end."""

    def __init__(self, urls: Sequence[str], api_key: str, *, pause_s: float = 0.01, name: str = "load") -> None:
        self.urls = list(urls)
        self.promised = Promised()
        self._api_key = api_key
        self._pause_s = pause_s
        self._name = name
        self._is_over = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Promised]:
        """Load the service while the block runs; what was begun is brought to its end after it."""
        headers = {"Authorization": f"Bearer {self._api_key}"}
        async with httpx2.AsyncClient(timeout=30, headers=headers) as client, asyncio.TaskGroup() as group:
            for number in range(SUBMITTERS):
                group.create_task(self._submit(client, number))
            group.create_task(self._work(client))
            try:
                yield self.promised
            finally:
                self._is_over.set()

    async def _submit(self, client: httpx2.AsyncClient, number: int) -> None:
        count = 0
        while not self._is_over.is_set():
            count += 1
            key = f"{self._name}-{number}-{count}"
            body = {"payload": {"job_type": OWN_TYPE if count % 2 else DATABASE_TYPE, "data": {"number": count}}, "max_attempts": 20}
            answer = await self._call(client, "POST", "/v1/jobs", json=body, headers={"Idempotency-Key": key})
            assert answer.status_code in (200, 201), answer.text
            self.promised.submitted[key] = answer.json()["id"]
            await asyncio.sleep(self._pause_s)

    async def _work(self, client: httpx2.AsyncClient) -> None:
        worker = f"{self._name}-{uuid.uuid4().hex[:8]}"
        await self._call(
            client, "PUT", f"/v1/workers/{worker}", json={"queues": ["*"], "job_types": [OWN_TYPE], "concurrency": 50, "version": "1"}
        )
        idle = 0
        while not (self._is_over.is_set() and idle >= 2):
            body = {
                "worker_id": worker,
                "claim_id": str(uuid.uuid4()),
                "queues": ["*"],
                "job_types": [OWN_TYPE],
                "max_jobs": 20,
                "wait_seconds": 0.2,
                "lease_seconds": 5,
            }
            leases = (await self._call(client, "POST", "/v1/leases", json=body)).json()["leases"]
            idle = 0 if leases else idle + 1
            if leases:
                await self._settle(client, leases)

    async def _settle(self, client: httpx2.AsyncClient, leases: list[dict[str, Any]]) -> None:
        outcomes = [
            {"job_id": lease["job"]["id"], "lease_token": lease["lease_token"], "outcome": "succeeded", "result": {}} for lease in leases
        ]
        results = (await self._call(client, "POST", "/v1/leases/settle", json={"outcomes": outcomes})).json()["results"]
        for outcome, result in zip(outcomes, results, strict=True):
            if result["status"] in ("settled", "replayed"):
                self.promised.settled[outcome["lease_token"]] = result["job_id"]

    async def _call(self, client: httpx2.AsyncClient, method: str, path: str, **arguments: Any) -> httpx2.Response:
        """Ask one of the APIs, any, until one answers; under the same key and token it is safe."""
        while True:
            try:
                answer = await client.request(method, random.choice(self.urls) + path, **arguments)
            except httpx2.TransportError:
                self.promised.broken_lines += 1
            else:
                self.promised.statuses[answer.status_code] += 1
                if answer.status_code < 500 and answer.status_code not in (408, 429):
                    return answer
            await asyncio.sleep(random.uniform(*RETRY_S))


@dataclass(frozen=True)
class Missing:
    """Promises the database does not keep."""

    submitted: list[str]
    settled: list[str]
    without_end: list[str]

    @property
    def is_nothing(self) -> bool:
        """Whether all are kept."""
        return not (self.submitted or self.settled or self.without_end)


async def missing(dsn: str, promised: Promised, *, is_drained: bool = False) -> Missing:
    """Look in the database for everything promised. is_drained: every job must have succeeded by now."""
    async with connected(dsn) as connection:
        known = {str(row[0]) for row in await connection.fetch("SELECT job_id FROM jobqueue.job")}
        tokens = {str(row[0]) for row in await connection.fetch("SELECT token FROM jobqueue.outcome WHERE token IS NOT NULL")}
        ended = {str(row[0]) for row in await connection.fetch("SELECT job_id FROM jobqueue.outcome WHERE state = 'succeeded'")}
    jobs = set(promised.submitted.values())
    return Missing(
        sorted(jobs - known),
        sorted(token for token in promised.settled if token not in tokens),
        sorted(jobs - ended) if is_drained else [],
    )


async def drained(dsn: str, *, within_s: float) -> None:
    """Wait until nothing waits or runs."""
    tables = " + ".join(
        f"(SELECT count(*) FROM jobqueue.{table})" for table in ("ready", "scheduled", "parked", "blocked", "lease", "inbox")
    )
    seen = -1
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s), connected(dsn) as connection:
            while seen := await connection.fetchval(f"SELECT {tables}"):
                await asyncio.sleep(0.1)
    assert seen == 0, f"{seen} jobs still wait or run after {within_s:g} s"
