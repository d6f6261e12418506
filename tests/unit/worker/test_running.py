"""A worker runs handlers and reports how they ended: the whole loop, over the fake engine."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from jobqueue import Discard, Retry, Snooze
from jobqueue.domain.errors import DatabaseUnavailable
from jobqueue.domain.lease import Directive
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.telemetry.events import JobsCompleted, JobsRetried, StaleWritesRefused
from jobqueue.worker.events import BackendFailed, HandlerLeft, LeaseLost, ThreadTimedOut
from jobqueue.worker.handler import Context
from jobqueue.worker.handlers import BUILTIN
from jobqueue.worker.registry import HandlerError, Registry
from jobqueue.worker.runtime import AWAY_STOP_S_MAX
from tests.fakes.backend import FakeEngine
from tests.unit.worker.harness import working


class Gate:
    """A handler that says it has begun, then waits until it is opened or cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.contexts: list[Context] = []

    async def __call__(self, ctx: Context) -> str:
        self.contexts.append(ctx)
        self.begun.set()
        await self.open.wait()
        return "opened"


@pytest.fixture
def gate(registry: Registry) -> Gate:
    gate = Gate()
    registry.job("gate")(gate)
    return gate


async def test_echo_returns_its_data(engine: FakeEngine, registry: Registry) -> None:
    registry.include(BUILTIN)
    job_id = engine.submit("echo", {"message": "Hello"})
    async with working(engine, registry) as running:
        job = await engine.until_status(job_id, "succeeded")
    assert job.result == {"message": "Hello"}
    assert job.history == ["leased", "succeeded"]
    assert running.told(JobsCompleted) == [JobsCompleted("demo", "succeeded", 1, [job.outcome.ran_s])]


async def test_a_quieted_worker_finishes_what_it_has_claims_nothing_and_goes_on_when_told(
    engine: FakeEngine, registry: Registry, gate: Gate
) -> None:
    first = engine.submit("gate")
    async with working(engine, registry):
        await engine.until_status(first, "running")
        engine.directive = Directive.QUIET
        beats = engine.beat_count
        await engine.until(lambda: engine.beat_count > beats + 1)
        second = engine.submit("gate")
        gate.open.set()
        await engine.until_status(first, "succeeded")
        beats = engine.beat_count
        await engine.until(lambda: engine.beat_count > beats + 1)
        assert engine.job(second).status == "queued"
        engine.directive = Directive.RUN
        await engine.until_status(second, "succeeded")


async def test_a_terminated_worker_drains_and_ends(engine: FakeEngine, registry: Registry, gate: Gate) -> None:
    job_id = engine.submit("gate")
    async with working(engine, registry) as running:
        await engine.until_status(job_id, "running")
        engine.directive = Directive.TERMINATE
        await running.stop.wait()
        gate.open.set()
        async with asyncio.timeout(10):
            await running.task
    assert engine.job(job_id).status == "succeeded"


async def test_sleep_tells_progress_and_fails_on_request(engine: FakeEngine, registry: Registry) -> None:
    registry.include(BUILTIN)
    good = engine.submit("sleep", {"duration": 0.02})
    bad = engine.submit("sleep", {"duration": 0, "fail_simulation": True})
    async with working(engine, registry) as running:
        assert (await engine.until_status(good, "succeeded")).result == {"slept_s": 0.02}
        failure = (await engine.until_status(bad, "failed")).outcome.failure
    assert failure is not None
    assert failure.type == "SimulatedFailure"
    assert running.told(JobsRetried) == [JobsRetried("demo", 1)]


async def test_thousand_jobs_run_exactly_once_within_the_concurrency(engine: FakeEngine, registry: Registry) -> None:
    now, most = 0, 0

    @registry.job("count")
    async def count(ctx: Context, n: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return n

    ids = [engine.submit("count", {"n": n}) for n in range(1000)]
    async with working(engine, registry, concurrency=7):
        await engine.until(lambda: all(job.status == "succeeded" for job in engine.jobs()))
    assert [engine.job(job_id).result for job_id in ids] == list(range(1000))
    assert all(job.history == ["leased", "succeeded"] for job in engine.jobs())
    assert most == 7


async def test_no_handler_sees_a_context_variable_that_another_one_set(engine: FakeEngine, registry: Registry) -> None:
    note: ContextVar[int] = ContextVar("note")

    @registry.job("note")
    async def keep(ctx: Context, n: int) -> int:
        seen = note.get(-1)
        note.set(n)
        if n % 2:
            await asyncio.sleep(0)
            assert note.get() == n
        return seen

    ids = [engine.submit("note", {"n": n}) for n in range(20)]
    async with working(engine, registry, concurrency=3):
        await engine.until(lambda: all(job.status == "succeeded" for job in engine.jobs()))
    assert {engine.job(job_id).result for job_id in ids} == {-1}


@pytest.mark.parametrize(
    ("error", "status", "delay_s"),
    [(ValueError("no"), "failed", None), (Retry(delay=9), "failed", 9), (Discard("no"), "dlq", None), (Snooze(4), "scheduled", 4)],
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_what_a_handler_raises_decides_what_follows(
    engine: FakeEngine, registry: Registry, error: Exception, status: str, delay_s: float | None, is_async: bool
) -> None:
    async def fail_async(ctx: Context) -> None:
        raise error

    def fail_plain(ctx: Context) -> None:
        raise error

    registry.job("fail")(fail_async if is_async else fail_plain)
    job_id = engine.submit("fail")
    async with working(engine, registry):
        job = await engine.until_status(job_id, status)
    assert job.outcome.delay_s == delay_s
    assert job.outcome.ran_s is not None


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
@pytest.mark.parametrize("is_async", [True, False])
async def test_worker_outlives_whatever_a_handler_raises(
    engine: FakeEngine, registry: Registry, error: BaseException, is_async: bool
) -> None:
    async def fail_async(ctx: Context) -> None:
        raise error

    def fail_plain(ctx: Context) -> None:
        raise error

    registry.include(BUILTIN)
    registry.job("fail")(fail_async if is_async else fail_plain)
    bad = engine.submit("fail")
    async with working(engine, registry):
        failure = (await engine.until_status(bad, "failed")).outcome.failure
        good = engine.submit("echo")
        await engine.until_status(good, "succeeded")
    assert failure is not None
    assert failure.type == type(error).__name__


async def test_misfit_data_buries_the_job_naming_the_argument(engine: FakeEngine, registry: Registry) -> None:
    registry.include(BUILTIN)
    job_id = engine.submit("sleep", {"duration": "long"})
    async with working(engine, registry):
        failure = (await engine.until_status(job_id, "dlq")).outcome.failure
    assert failure is not None
    assert failure.type == "ArgumentError"
    assert "'duration'" in failure.message


async def test_rejected_result_buries_its_job_alone(engine: FakeEngine, registry: Registry) -> None:
    @registry.job("give")
    async def give(ctx: Context, n: int) -> str:
        return "\x00" * n

    ids = [engine.submit("give", {"n": n}) for n in (0, 1, 0)]
    async with working(engine, registry):
        await engine.until(lambda: all(job.status in ("succeeded", "dlq") for job in engine.jobs()))
    assert [engine.job(job_id).status for job_id in ids] == ["succeeded", "dlq", "succeeded"]


async def test_wrong_signature_stops_the_start(engine: FakeEngine, registry: Registry) -> None:
    registry.job("broken")(lambda: None)
    with pytest.raises(HandlerError, match="broken"):
        async with working(engine, registry) as running:
            await running.task


# ------------------------------------------------------------------------------------------------- the context


async def test_handler_sees_its_job(engine: FakeEngine, registry: Registry) -> None:
    seen: list[Any] = []

    @registry.job("look")
    async def look(ctx: Context, **data: Any) -> None:
        seen.append((ctx.job, ctx.attempt, ctx.cancelled))

    job_id = engine.submit("look", {"a": 1}, max_attempts=4)
    async with working(engine, registry):
        await engine.until_status(job_id, "succeeded")
    ((job, attempt, cancelled),) = seen
    assert (job.id, job.tenant_id, job.data, job.max_attempts, job.metadata) == (job_id, "demo", {"a": 1}, 4, {})
    assert (attempt, cancelled) == (1, False)
    assert job.created_at.year == 2025


@pytest.mark.parametrize("is_async", [True, False])
async def test_progress_reaches_the_database_while_the_handler_runs(engine: FakeEngine, registry: Registry, is_async: bool) -> None:
    done, threads_done = asyncio.Event(), threading.Event()

    async def tell_async(ctx: Context) -> None:
        await ctx.progress(50, "half way")
        await done.wait()

    def tell_plain(ctx: Context) -> None:
        ctx.progress(50, "half way")
        threads_done.wait(10)

    registry.job("tell")(tell_async if is_async else tell_plain)
    job_id = engine.submit("tell")
    async with working(engine, registry):
        await engine.until(lambda: engine.job(job_id).percent == 50)
        assert (engine.job(job_id).message, engine.job(job_id).status) == ("half way", "running")
        done.set()
        threads_done.set()
        await engine.until_status(job_id, "succeeded")


@pytest.mark.parametrize("percent", [-1, 100.1, float("nan")])
async def test_progress_out_of_range_is_the_handlers_error(engine: FakeEngine, registry: Registry, percent: float) -> None:
    @registry.job("tell")
    async def tell(ctx: Context) -> None:
        await ctx.progress(percent)

    job_id = engine.submit("tell")
    async with working(engine, registry):
        failure = (await engine.until_status(job_id, "failed")).outcome.failure
    assert failure is not None
    assert failure.type == "ValueError"


# ------------------------------------------------------------------------------------------ timeout and cancel


async def test_overdue_handler_is_cancelled_and_its_attempt_fails_as_timeout(engine: FakeEngine, gate: Gate, registry: Registry) -> None:
    job_id = engine.submit("gate", timeout_s=0.05)
    async with working(engine, registry):
        job = await engine.until_status(job_id, "failed")
    assert job.outcome.failure is not None
    assert (job.outcome.failure.type, job.outcome.is_retryable) == ("Timeout", True)
    assert gate.contexts[0].cancelled


async def test_handlers_own_timeout_counts_where_it_is_tighter(engine: FakeEngine, registry: Registry) -> None:
    registry.job("gate", timeout=0.05)(Gate())
    job_id = engine.submit("gate", timeout_s=60)
    async with working(engine, registry):
        await engine.until_status(job_id, "failed")


async def test_overdue_thread_fails_its_job_at_once_and_keeps_its_slot_until_it_returns(engine: FakeEngine, registry: Registry) -> None:
    go_on, order = threading.Event(), []

    @registry.job("hang")
    def hang(ctx: Context) -> None:
        go_on.wait(10)
        order.append("hang returned")

    @registry.job("next")
    async def following(ctx: Context) -> None:
        order.append("next ran")

    hung, after = engine.submit("hang", timeout_s=0.05), engine.submit("next")
    async with working(engine, registry, concurrency=1) as running:
        failure = (await engine.until_status(hung, "failed")).outcome.failure
        go_on.set()
        await engine.until_status(after, "succeeded")
    assert failure is not None
    assert failure.type == "Timeout"
    assert order == ["hang returned", "next ran"]
    assert len(running.told(ThreadTimedOut)) == 1
    assert engine.job(hung).history == ["leased", "failed"]


@pytest.mark.parametrize("is_async", [True, False])
async def test_cancelled_job_ends_cancelled(engine: FakeEngine, registry: Registry, is_async: bool) -> None:
    begun = threading.Event()

    async def wait_async(ctx: Context) -> None:
        begun.set()
        await asyncio.Event().wait()

    def wait_plain(ctx: Context) -> None:
        begun.set()
        while not ctx.cancelled:
            begun.wait(0.01)
        raise asyncio.CancelledError

    registry.job("wait")(wait_async if is_async else wait_plain)
    job_id = engine.submit("wait")
    engine.job(job_id).lease_s = 1.2  # a beat every third of it
    async with working(engine, registry):
        await engine.until_status(job_id, "running")
        engine.ask_to_cancel(job_id)
        job = await engine.until_status(job_id, "cancelled")
    assert job.outcome.kind is OutcomeKind.CANCELLED


async def test_value_returned_after_a_cancel_still_wins(engine: FakeEngine, registry: Registry) -> None:
    @registry.job("finish")
    async def finish(ctx: Context) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done anyway"
        return "never"

    job_id = engine.submit("finish")
    engine.job(job_id).lease_s = 1.2
    async with working(engine, registry):
        await engine.until_status(job_id, "running")
        engine.ask_to_cancel(job_id)
        assert (await engine.until_status(job_id, "succeeded")).result == "done anyway"


async def test_handler_that_ignores_its_cancellation_is_left_and_its_slot_and_lease_go(engine: FakeEngine, registry: Registry) -> None:
    registry.include(BUILTIN)
    let_go = asyncio.Event()

    @registry.job("stubborn")
    async def stubborn(ctx: Context) -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    hung = engine.submit("stubborn", timeout_s=0.05)
    after = engine.submit("echo")
    async with working(engine, registry, concurrency=1, cancel_grace_s=0.1) as running:
        await engine.until_status(after, "succeeded")
        assert running.worker.left_total == 1
        assert [event.job_id for event in running.told(HandlerLeft)] == [hung]
        engine.end_lease(hung)
        let_go.set()
        await running.ends()
    assert "failed" not in engine.job(hung).history  # nothing was reported for it


async def test_lost_lease_cancels_the_handler_and_drops_its_outcome(engine: FakeEngine, gate: Gate, registry: Registry) -> None:
    job_id = engine.submit("gate")
    engine.job(job_id).lease_s = 1.2
    async with working(engine, registry) as running:
        await engine.until_status(job_id, "running")
        gate.begun.clear()
        engine.end_lease(job_id)  # back to the queue; the same worker takes it again, isolated now: a Gate cannot be imported there
        lost = await running.until_told(LeaseLost)
        assert (lost.job_id, lost.was_started) == (job_id, True)
        await engine.until(lambda: len(engine.job(job_id).history) >= 4)
    assert gate.contexts[0].cancelled
    assert running.told(StaleWritesRefused) == []
    assert engine.job(job_id).history[:3] == ["leased", "lease_expired", "leased"]


async def test_lease_that_cannot_be_renewed_is_given_up_before_it_ends(engine: FakeEngine, gate: Gate, registry: Registry) -> None:
    answers = threading.Event()

    async def hang() -> None:  # in the heartbeater's loop
        while not answers.is_set():
            await asyncio.sleep(0.01)

    engine.before("heartbeat", hang)
    job_id = engine.submit("gate")
    engine.job(job_id).lease_s = 0.8
    async with working(engine, registry) as running:
        await running.until_told(LeaseLost)
        assert gate.contexts[0].cancelled
        answers.set()
    assert len(running.told(LeaseLost)) == 1
    assert engine.job(job_id).outcomes == {}


async def test_jobs_that_end_late_with_a_stale_token_are_counted_not_raised(engine: FakeEngine, gate: Gate, registry: Registry) -> None:
    registry.include(BUILTIN)
    job_id = engine.submit("gate")
    async with working(engine, registry) as running:
        await gate.begun.wait()
        engine.end_lease(job_id)
        gate.open.set()
        await engine.until(lambda: bool(running.told(StaleWritesRefused)) or len(engine.settle_sizes) > 0)
        other = engine.submit("echo")
        await engine.until_status(other, "succeeded")
    assert running.told(StaleWritesRefused) == [StaleWritesRefused(1)]


# -------------------------------------------------------------------------------------------------------- drain


async def test_stop_waits_for_running_handlers_and_claims_no_more(engine: FakeEngine, gate: Gate, registry: Registry) -> None:
    first = engine.submit("gate")
    async with working(engine, registry) as running:
        await gate.begun.wait()
        running.stop.set()
        await asyncio.sleep(0)
        later = engine.submit("gate")
        gate.open.set()
        await running.task
    assert engine.job(first).result == "opened"
    assert engine.job(later).status == "queued"
    assert engine.job(later).attempt == 0


@pytest.mark.parametrize("way", ["grace", "abort"])
async def test_handler_that_outlasts_the_grace_is_given_back_with_its_attempt(
    engine: FakeEngine, gate: Gate, registry: Registry, way: str
) -> None:
    job_id = engine.submit("gate", max_attempts=1)
    async with working(engine, registry, shutdown_grace_s=0.05 if way == "grace" else 60) as running:
        await gate.begun.wait()
        if way == "abort":
            running.abort.set()
        await running.ends()
    job = engine.job(job_id)
    assert (job.history, job.status, job.attempt) == (["leased", "released"], "queued", 0)
    assert gate.contexts[0].cancelled


async def test_handler_that_answers_its_shutdown_with_an_error_is_given_back_too(engine: FakeEngine, registry: Registry) -> None:
    begun = asyncio.Event()

    @registry.job("wrap")
    async def wrap(ctx: Context) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            raise RuntimeError("interrupted") from error

    job_id = engine.submit("wrap", max_attempts=1)
    async with working(engine, registry) as running:
        await begun.wait()
        running.abort.set()
        await running.ends()
    assert engine.job(job_id).history == ["leased", "released"]


async def test_thread_that_outlasts_the_shutdown_is_given_back_and_counted(engine: FakeEngine, registry: Registry) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @registry.job("hang")
    def hang(ctx: Context) -> None:
        begun.set()
        go_on.wait(20)

    job_id = engine.submit("hang")
    async with working(engine, registry) as running:
        await engine.until_status(job_id, "running")
        running.abort.set()
        await running.ends()
        assert running.worker.left_total == 1
        go_on.set()
    assert engine.job(job_id).history == ["leased", "released"]


async def test_leases_without_a_slot_are_given_back_at_once(engine: FakeEngine, gate: Gate, registry: Registry) -> None:
    registry.include(BUILTIN)
    async with working(engine, registry, concurrency=1) as running:
        done = [engine.submit("echo") for _ in range(2000)]  # a pace that makes it lease ahead
        last = engine.submit("gate")
        ahead = [engine.submit("gate") for _ in range(30)]
        await gate.begun.wait()
        await engine.until(lambda: all(engine.job(job_id).status == "succeeded" for job_id in done))
        stopping = asyncio.create_task(running.ends())
        await engine.until(lambda: all(engine.job(job_id).status == "queued" for job_id in ahead))
        assert engine.job(last).status in ("leased", "running")
        gate.open.set()
        await stopping
    assert engine.job(last).status == "succeeded"
    assert any(job.history == ["leased", "released"] for job in map(engine.job, ahead))
    assert all(job.attempt == 0 for job in map(engine.job, ahead))


async def test_claim_under_way_at_the_stop_leaves_no_lease_behind(engine: FakeEngine, registry: Registry) -> None:
    registry.include(BUILTIN)
    claiming, go_on = asyncio.Event(), asyncio.Event()

    async def pause() -> None:
        claiming.set()
        await go_on.wait()

    engine.before("claim", pause)
    job_id = engine.submit("echo")
    async with working(engine, registry) as running:
        await claiming.wait()
        running.stop.set()
        await asyncio.sleep(0.01)
        go_on.set()
        await running.task
    assert engine.job(job_id).history == ["leased", "released"]


async def test_outcome_that_cannot_be_stored_at_the_stop_is_tried_for_the_grace(engine: FakeEngine, registry: Registry) -> None:
    registry.include(BUILTIN)
    engine.fail("settle", *[DatabaseUnavailable("away")] * 4)
    job_id = engine.submit("echo")
    async with working(engine, registry, shutdown_grace_s=60) as running:
        await running.until_told(BackendFailed)
        await running.ends()
    assert engine.job(job_id).status == "succeeded"


@pytest.mark.parametrize("way", ["grace", "abort"])
async def test_outcome_that_cannot_be_stored_holds_a_stop_up_for_the_grace_and_little_more(
    engine: FakeEngine, registry: Registry, way: str
) -> None:
    registry.include(BUILTIN)
    engine.fail("settle", *[DatabaseUnavailable("away")] * 10_000)
    job_id = engine.submit("echo")
    async with working(engine, registry, shutdown_grace_s=0.05 if way == "grace" else 60) as running:
        await running.until_told(BackendFailed)
        if way == "abort":
            running.abort.set()
        async with asyncio.timeout(AWAY_STOP_S_MAX + 2):
            await running.ends()
    assert engine.job(job_id).status == "leased"  # until the lease runs out
