"""A handler that holds the interpreter, and one beside it; worker processes import them by JOBQUEUE_HANDLERS."""

import asyncio
import ctypes

from jobqueue import job
from jobqueue.worker.handler import Context


@job("hog")
def hog(ctx: Context, seconds: int) -> str:
    """Hold the interpreter's lock in one call: PyDLL does not let go of it."""
    ctypes.PyDLL(None).sleep(seconds)
    return "let go"


@job("neighbour")
async def neighbour(ctx: Context, seconds: float) -> str:
    """Mind one's own business."""
    await asyncio.sleep(seconds)
    return "done"
