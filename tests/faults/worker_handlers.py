"""Handlers of the workers that are stopped, signalled and blocked (JOBQUEUE_HANDLERS=tests.faults.worker_handlers)."""

import asyncio
import time
from typing import Any

from jobqueue import job


@job("hold")
async def hold(ctx: Any, seconds: float) -> str:
    """Take so long, and end when told to."""
    await asyncio.sleep(seconds)
    return "held to the end"


@job("block")
async def block(ctx: Any, seconds: float) -> str:
    """Take so long without letting anything else on the loop run."""
    time.sleep(seconds)  # noqa: ASYNC251 - this is the point
    return "blocked to the end"
