"""Say how a run ended, given what its handler did and what the run had been told."""

from __future__ import annotations

import asyncio

from jobqueue.domain.outcome import Outcome
from jobqueue.worker import outcomes
from jobqueue.worker.handler import Context
from jobqueue.worker.registry import HandlerSpec
from jobqueue.worker.run import Run, StopReason


def timeout_s(run: Run, spec: HandlerSpec) -> float:
    """Bound a run: by the job's own limit, or the handler's where that is tighter."""
    limit_s = run.lease.timeout_s
    return limit_s if spec.timeout_s is None else min(limit_s, spec.timeout_s)


def judge(run: Run, error: BaseException) -> Outcome:
    """Say what an error means.

    What the handler says itself (Retry, Discard, Snooze) stands. After that a shutdown is nobody's fault, whatever the handler made of
    it; a cancellation means what it was sent for; any other error is the handler's own.
    """
    reason = run.stop_reason
    if reason is None or outcomes.is_verdict(error):
        return outcomes.of_error(error)
    if reason is StopReason.SHUTDOWN:
        return outcomes.released()
    if not isinstance(error, asyncio.CancelledError):
        return outcomes.of_error(error)
    if reason is StopReason.TIMEOUT:
        return timed_out(run)
    return outcomes.cancelled()


def timed_out(run: Run) -> Outcome:
    """Make the outcome of a run that went past its deadline."""
    assert run.started_at is not None
    return outcomes.timed_out(run.deadline_at - run.started_at)


def call_plain(run: Run, spec: HandlerSpec, context: Context) -> Outcome:
    """Call a plain handler to its end, in the thread that this is. Never raises."""
    try:
        value = spec.function(context, **spec.parse(run.lease.data_json))
        if asyncio.iscoroutine(value):
            value.close()
            raise TypeError("the handler returned a coroutine; declare it with `async def`")
        return outcomes.of_value(value)
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises, SystemExit too, ends its job and not the worker
        return judge(run, error)
