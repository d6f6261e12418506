"""Run one job of a built-in handler in a real worker over a fake engine."""

from __future__ import annotations

from typing import Any

from jobqueue.worker.handlers import BUILTIN
from jobqueue.worker.registry import Registry
from tests.fakes.backend import FakeEngine, FakeJob
from tests.unit.worker.harness import working


async def run(job_type: str, data: dict[str, Any], **options: Any) -> FakeJob:
    """Give the job as it stands after its first run."""
    engine, registry = FakeEngine(), Registry()
    registry.include(BUILTIN)
    job_id = engine.submit(job_type, data)
    async with working(engine, registry, **options):
        await engine.until(lambda: bool(engine.job(job_id).outcomes), within_s=20)
    return engine.job(job_id)


def failure(job: FakeJob) -> tuple[str, str, str]:
    """Say what became of a job that failed, and why."""
    assert job.outcome.failure is not None, job.outcome
    return job.status, job.outcome.failure.type, job.outcome.failure.message
