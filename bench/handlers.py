"""What `jobqueue worker` runs here (JOBQUEUE_HANDLERS=bench.handlers)."""

from __future__ import annotations

from bench import stamps
from bench.contender import NOOP, STAMP
from jobqueue.worker.handler import Context
from jobqueue.worker.registry import job


@job(NOOP)
async def noop(_ctx: Context, n: int) -> None:
    """Do nothing."""


@job(STAMP)
async def stamp(_ctx: Context, n: int) -> None:
    """Tell that it has started."""
    stamps.send(n)
