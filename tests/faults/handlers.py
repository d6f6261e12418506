"""Handlers that say when they start and end, and under which token; worker processes import them by JOBQUEUE_HANDLERS.

A run's result names the run, so the checker can tell whose result a job has in the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import secrets
import time
from collections.abc import Iterator
from functools import cache

from jobqueue import Discard, Snooze, job
from jobqueue.worker.handler import Context
from tests.faults.record import Recorder
from tests.faults.tap import Points

HOARD_MAX = 64


@cache
def recorder() -> Recorder | None:
    """This process's recorder."""
    return Recorder.of_this_process()


@contextlib.contextmanager
def recorded(ctx: Context) -> Iterator[str]:
    """Write down the start and the end of a run; answers the run's name."""
    run, log, lease = secrets.token_hex(6), recorder(), ctx._lease
    said = {"job": str(lease.job_id), "token": str(lease.token), "run": run}
    how = "ok"
    if log is not None:
        log.note("start", tenant=lease.tenant, **said)
    try:
        yield run
    except Discard:
        how = "discard"
        raise
    except (asyncio.CancelledError, GeneratorExit):
        how = "cancelled"
        raise
    except BaseException:
        how = "error"
        raise
    finally:
        if log is not None:
            log.note("end", how=how, **said)


@job("quick")
async def quick(ctx, body: str, seconds: float = 0.0, fails: int = 0, how: str = "error") -> dict[str, str]:  # type: ignore[no-untyped-def]
    """Take some time, and fail the first `fails` attempts in the way `how` says."""
    with recorded(ctx) as run:
        await asyncio.sleep(seconds / 2)
        await Points.of_this_process().reach("handler", [ctx._lease])
        await asyncio.sleep(seconds / 2)
        if how == "snooze" and secrets.randbelow(2):  # a snooze costs no attempt, so these would never be used up
            raise Snooze(0.5)
        if how != "snooze" and ctx.attempt <= fails:
            raise Discard("as asked") if how == "discard" else RuntimeError("as asked")
        return {"run": run}


@job("long")
async def long(ctx, body: str, seconds: float) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """Outlast the lease several times, telling progress."""
    with recorded(ctx) as run:
        for step in range(20):
            await asyncio.sleep(seconds / 20)
            ctx.progress(5 * step)
        return {"run": run}


@job("threaded")
def threaded(ctx, body: str, seconds: float = 0.0) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """Take some time in a thread; heed being told to stop."""
    with recorded(ctx) as run:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not ctx.cancelled:
            time.sleep(0.01)
        return {"run": run}


@job("blocking")
async def blocking(ctx, body: str, seconds: float) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """Block the event loop of the worker, as a handler should not."""
    with recorded(ctx) as run:
        time.sleep(seconds)  # noqa: ASYNC251 - that is its point
        return {"run": run}


@job("hogging")
def hogging(ctx, body: str, seconds: float) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """Hold the interpreter's lock in calls of some hundred ms each, in a thread."""
    with recorded(ctx) as run:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not ctx.cancelled:
            re.match(r"(a+)+b", "a" * 22)
        return {"run": run}


@job("poison")
def poison(ctx, body: str, way: str) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """Take the process along: exit, segfault, or eat all memory it can get."""
    with recorded(ctx) as run:
        if way == "exit":
            os._exit(3)
        if way == "segfault":
            ctypes.string_at(0)
        hoard = []
        while way == "memory":
            hoard.append(bytearray(16 << 20))
            if len(hoard) == HOARD_MAX:
                os._exit(4)  # nobody stopped it: the machine is not ours to take
        return {"run": run}
