"""The handler `report` over the real engine: a tenant's own jobs, all of them, and nobody else's."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from jobqueue.aio.clock import SystemClock
from jobqueue.operations import jobs
from jobqueue.operations.jobs import Caller
from jobqueue.worker.backends import tenant_jobs
from jobqueue.worker.backends.postgres import PostgresOptions, factory
from jobqueue.worker.handlers import BUILTIN
from jobqueue.worker.options import WorkerOptions
from jobqueue.worker.registry import Registry
from jobqueue.worker.runtime import Worker
from jobqueue.worker.surroundings import JobsAddress
from tests.engine import TERMS, Engine


async def run_report(engine: Engine, root: Path, caller: Caller, **data: Any) -> dict[str, Any]:
    """Run one report in a real worker; answers its result."""
    job_id = await engine.submit(caller, "report", data=orjson.dumps(data).decode())
    registry = Registry()
    registry.include(BUILTIN)
    terms = type(TERMS)(**{**{name: getattr(TERMS, name) for name in TERMS.__slots__}, "lease_s": 30.0})
    options = PostgresOptions(engine.dsn, engine.dsn, "reporter", None, ("report",), 1, "test", terms)
    claiming, beating = factory(options, clock=SystemClock())
    address = JobsAddress(tenant_jobs.OF_DATABASE, engine.dsn)
    worker = Worker(registry, claiming, WorkerOptions(files_dir=str(root), jobs=address, poll_interval_s=0.05), open_beating=beating)
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop, asyncio.Event()))
    try:
        return await _result(engine, caller, job_id)
    finally:
        stop.set()
        await task


async def _result(engine: Engine, caller: Caller, job_id: UUID) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while (view := await jobs.get(engine.db, caller, job_id, tenant_cap=0, has_result=True)).finished_at is None:
            await asyncio.sleep(0.02)
    assert view.result_json is not None, view.error_json
    result: dict[str, Any] = orjson.loads(view.result_json)
    return result


async def test_report_tells_every_job_of_its_tenant_and_no_other(engine: Engine, tmp_path: Path) -> None:
    acme, other = await engine.tenant("acme"), await engine.tenant("other")
    await engine.dlq(acme)
    mine = [await engine.submit(acme) for _ in range(520)]  # more than a page
    await engine.submit(other)
    result = await run_report(engine, tmp_path, acme, output="reports/week", before="2100-01-01T00:00:00Z", after="2099-12-25T00:00:00Z")
    assert result["jobs"] == 0
    result = await run_report(engine, tmp_path, acme, output="reports/all")
    files = {name: tmp_path / "acme" / path for name, path in result["files"].items()}
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert {str(job_id) for job_id in mine} <= {row["id"] for row in rows}
    assert len(rows) == result["jobs"] == 522  # with the first report itself; the second was submitted at the end of the period
    assert result["by_status"] == {"dlq": 1, "queued": 520, "succeeded": 1}
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    assert "Jobs of acme" in files["html"].read_text()
