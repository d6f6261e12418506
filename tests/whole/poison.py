"""Handlers that end badly; a worker process imports this module by JOBQUEUE_HANDLERS."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from jobqueue import job

MIB = 1024**2
MEALS_MAX = 64
"""512 MiB: three times what it may have, and nothing that a machine that runs tests would miss."""


@job("eater", memory_mib=160)
async def eater(ctx, go: str) -> None:  # type: ignore[no-untyped-def]
    """Eat memory. Beside others, where nothing bounds it, be ended as the kernel would: with the whole worker."""
    if "jobqueue.worker.isolated_child" not in sys.orig_argv:  # not in a process of its own
        await ctx.progress(1, "eating")
        await until_exists(go)
        os.kill(os.getpid(), signal.SIGKILL)
    eaten = [bytearray(b"x" * 8 * MIB) for _ in range(MEALS_MAX)]
    raise AssertionError(f"nobody minded {len(eaten) * 8} MiB")


@job("neighbour")
async def neighbour(ctx, go: str | None = None) -> str:  # type: ignore[no-untyped-def]
    """Do no harm, once it may."""
    if go is not None:
        await until_exists(go)
        await asyncio.sleep(0.5)
    return "fine"


async def until_exists(path: str) -> None:
    """Wait for a file that the test makes."""
    while not os.path.exists(path):
        await asyncio.sleep(0.02)


@job("deaf", isolated=True, timeout=2)
def deaf(ctx) -> None:  # type: ignore[no-untyped-def]
    """Hang for ever and hear nothing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


@job("hung_thread", timeout=2)
def hung_thread(ctx) -> None:  # type: ignore[no-untyped-def]
    """Hang for ever in a thread of the worker."""
    while True:
        time.sleep(60)
