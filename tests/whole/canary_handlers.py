"""Handlers that hold secrets; worker processes import this module by JOBQUEUE_HANDLERS."""

from __future__ import annotations

import asyncio
import logging

import structlog

from jobqueue import job


@job("keeps_secret")
async def keeps_secret(ctx, secret: str) -> dict:  # type: ignore[no-untyped-def]
    """Say it to the caller and nobody else."""
    await ctx.progress(50, secret)
    structlog.get_logger().info("handler.works")
    return {"secret": secret}


@job("tells_secret", max_attempts=1)
def tells_secret(ctx, secret: str) -> None:  # type: ignore[no-untyped-def]
    """Fail with it in the error's message, which is the job's and no log's."""
    logging.getLogger("a.library").warning("about to fail")
    raise RuntimeError(secret)


@job("hangs")
async def hangs(ctx, secret: str) -> None:  # type: ignore[no-untyped-def]
    """Do not end."""
    await asyncio.sleep(600)
