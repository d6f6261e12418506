"""The stand-in that the worker's tests use keeps the contract that Postgres keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest_asyncio

from tests.contracts.backend_suite import JOB_TYPE, BackendContract
from tests.fakes.backend import FakeBackend, FakeEngine


class FakeScenario:
    """The fake engine as a scenario."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.engine.limit_to(JOB_TYPE)
        self.backends: list[FakeBackend] = []

    async def open_backend(self) -> FakeBackend:
        backend = FakeBackend(self.engine)
        await backend.open()
        self.backends.append(backend)
        return backend

    async def submit(self, data: dict[str, Any], *, job_type: str = JOB_TYPE, max_attempts: int = 3, timeout_s: float = 60.0) -> UUID:
        return self.engine.submit(job_type, data, max_attempts=max_attempts, timeout_s=timeout_s)

    async def end_lease(self, job_id: UUID) -> None:
        self.engine.end_lease(job_id)

    async def ask_to_cancel(self, job_id: UUID) -> None:
        self.engine.ask_to_cancel(job_id)

    async def status(self, job_id: UUID) -> str:
        return str(self.engine.job(job_id).status)


@pytest_asyncio.fixture
async def scenario() -> AsyncIterator[FakeScenario]:
    scenario = FakeScenario()
    yield scenario
    for backend in scenario.backends:
        await backend.close()


class TestFakeBackend(BackendContract):
    pass
