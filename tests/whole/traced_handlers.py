"""A job that fails at its first attempt; worker processes import this module by JOBQUEUE_HANDLERS."""

from __future__ import annotations

import asyncio

import structlog

from jobqueue import Retry, job


@job("second_time_lucky")
async def second_time_lucky(ctx) -> dict:  # type: ignore[no-untyped-def]
    """Fail once, then work for a moment."""
    structlog.get_logger().info("handler.ran")
    await asyncio.sleep(0.05)
    if ctx.attempt == 1:
        raise Retry(delay=3600)
    await asyncio.sleep(0.1)
    return {"attempt": ctx.attempt}
