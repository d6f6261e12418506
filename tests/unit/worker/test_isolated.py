"""A job in a process of its own: what kills it kills nobody else, and nothing of it is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from jobqueue.domain.errors import DatabaseUnavailable
from jobqueue.domain.outcome import Outcome, OutcomeKind
from jobqueue.worker.handlers import BUILTIN
from jobqueue.worker.registry import Registry
from tests.fakes.backend import FakeEngine
from tests.unit.worker import isolated_handlers
from tests.unit.worker.harness import working

MIB = 1024**2


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.include(isolated_handlers.SPECS)
    registry.include(BUILTIN)
    return registry


async def run_one(engine: FakeEngine, registry: Registry, job_type: str, data: dict[str, object] | None = None, **options: int) -> Outcome:
    job_id = engine.submit(job_type, data)
    async with working(engine, registry, **options):
        await engine.until(lambda: bool(engine.job(job_id).outcomes), within_s=20)
    return engine.job(job_id).outcome


async def test_isolated_job_runs_in_a_process_and_group_of_its_own_and_answers(engine: FakeEngine, registry: Registry) -> None:
    job_id = engine.submit("give", {"a": "ü"})
    async with working(engine, registry):
        job = await engine.until_status(job_id, "succeeded")
    assert job.result == {"a": "ü", "pid": job.result["pid"], "attempt": 1, "tenant": "demo", "group": job.result["pid"]}
    assert job.result["pid"] != os.getpid()


async def test_plain_handler_runs_isolated_too(engine: FakeEngine, registry: Registry) -> None:
    assert (await run_one(engine, registry, "give_plain", {"n": 1})).result_json == "2"


async def test_job_that_crashed_before_runs_isolated_whatever_its_handler_says(engine: FakeEngine, registry: Registry) -> None:
    pids = []

    @registry.job("pid")
    async def pid(ctx: object) -> None:
        pids.append(os.getpid())

    job_id = engine.submit("pid", crashes=1)
    async with working(engine, registry):
        failure = (await engine.until_status(job_id, "failed")).outcome.failure
    assert failure is not None
    assert "defined inside a function" in failure.message  # so it was not called here
    assert pids == []


async def test_start_is_known_to_the_database_before_the_process_exists(engine: FakeEngine, registry: Registry) -> None:
    engine.fail("heartbeat", DatabaseUnavailable("away"), DatabaseUnavailable("away"))
    job_id = engine.submit("leave")
    async with working(engine, registry):
        job = await engine.until_status(job_id, "failed")
    assert job.is_started


@pytest.mark.parametrize(("job_type", "said"), [("leave", "exit code 3"), ("fault", "signal SIGSEGV"), ("abort", "signal SIGABRT")])
async def test_process_that_dies_without_an_answer_is_a_crash(engine: FakeEngine, registry: Registry, job_type: str, said: str) -> None:
    outcome = await run_one(engine, registry, job_type)
    assert outcome.failure is not None
    assert (outcome.kind, outcome.is_crash, outcome.failure.type) == (OutcomeKind.FAILED, True, "Crashed")
    assert said in outcome.failure.message


async def test_crash_leaves_neighbours_alone(engine: FakeEngine, registry: Registry) -> None:
    engine.submit("fault")
    good = [engine.submit("give_plain", {"n": n}) for n in range(3)] + [engine.submit("echo")]
    async with working(engine, registry):
        await engine.until(lambda: all(engine.job(job_id).status == "succeeded" for job_id in good), within_s=20)


@pytest.mark.parametrize(("job_type", "failure_type"), [("quit_politely", "SystemExit"), ("reject", "ResultRejected")])
async def test_process_that_answers_has_not_crashed(engine: FakeEngine, registry: Registry, job_type: str, failure_type: str) -> None:
    outcome = await run_one(engine, registry, job_type)
    assert outcome.failure is not None
    assert (outcome.failure.type, outcome.is_crash) == (failure_type, False)


async def test_memory_beyond_the_limit_is_refused_to_the_job(engine: FakeEngine, registry: Registry) -> None:
    outcome = await run_one(engine, registry, "devour", isolated_memory_bytes=1024 * MIB)
    assert outcome.failure is not None
    assert (outcome.failure.type, outcome.is_crash) == ("OutOfMemory", True)


async def test_handlers_own_bound_goes_before_the_workers(engine: FakeEngine, registry: Registry) -> None:
    outcome = await run_one(engine, registry, "devour_bounded", isolated_memory_bytes=8 * 1024 * MIB)
    assert outcome.failure is not None
    assert outcome.failure.type == "OutOfMemory"


async def test_memory_within_the_limit_is_granted(engine: FakeEngine, registry: Registry) -> None:
    assert (await run_one(engine, registry, "give_plain", {"n": 1}, isolated_memory_bytes=1024 * MIB)).result_json == "2"


async def test_misfit_data_is_refused_in_the_process_too(engine: FakeEngine, registry: Registry) -> None:
    outcome = await run_one(engine, registry, "give_plain", {"n": "x"})
    assert outcome.failure is not None
    assert (outcome.failure.type, outcome.is_retryable) == ("ArgumentError", False)


async def test_overdue_process_is_killed_with_all_it_started(engine: FakeEngine, registry: Registry, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    job_id = engine.submit("touch_and_hang", {"path": str(pids)}, timeout_s=2.0)
    async with working(engine, registry, cancel_grace_s=0.1):
        job = await engine.until_status(job_id, "failed")
    assert job.outcome.failure is not None
    assert (job.outcome.failure.type, job.outcome.is_crash) == ("Timeout", False)
    await until_dead(pids)


@pytest.mark.parametrize(
    ("job_type", "data", "status", "result"),
    [("wait", {}, "cancelled", None), ("wait", {"returns": True}, "succeeded", "done anyway"), ("wait_plain", {}, "succeeded", "saw it")],
)
async def test_cancelled_process_is_asked_to_end_and_its_answer_counts(
    engine: FakeEngine, registry: Registry, job_type: str, data: dict[str, object], status: str, result: str | None
) -> None:
    job_id = engine.submit(job_type, data)
    engine.job(job_id).lease_s = 1.2
    async with working(engine, registry):
        await engine.until(lambda: engine.job(job_id).message == "waiting")
        engine.ask_to_cancel(job_id)
        job = await engine.until_status(job_id, status)
    assert job.result == result


async def test_lost_lease_kills_the_process_and_reports_nothing(engine: FakeEngine, registry: Registry, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    job_id = engine.submit("touch_and_hang", {"path": str(pids)}, max_attempts=1)
    engine.job(job_id).lease_s = 1.2
    async with working(engine, registry):
        await until_written(pids)
        engine.end_lease(job_id)
        await until_dead(pids)
    assert engine.job(job_id).outcomes == {}


async def test_shutdown_gives_the_job_back_and_ends_its_process(engine: FakeEngine, registry: Registry, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    job_id = engine.submit("touch_and_hang", {"path": str(pids)})
    async with working(engine, registry) as running:
        await until_written(pids)
        running.abort.set()
        await running.ends()
    assert engine.job(job_id).history == ["leased", "released"]
    await until_dead(pids)


async def test_no_process_outlives_a_worker_that_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    worker = subprocess.Popen([sys.executable, "-m", "tests.unit.worker.lone_worker", str(pids)])
    try:
        await until_written(pids)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    await until_dead(pids)


async def until_dead(path: Path) -> None:
    """The system takes its time to end what was killed, and tells nobody but the parent."""
    async with asyncio.timeout(10):
        while any(is_alive(int(pid)) for pid in path.read_text().split()):
            await asyncio.sleep(0.01)


async def until_written(path: Path) -> None:
    """Another process writes it, so there is nothing to await: look again and again."""
    async with asyncio.timeout(20):
        while not path.exists():
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
