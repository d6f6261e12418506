"""Handlers for the load; worker processes import this module by JOBQUEUE_HANDLERS."""

from __future__ import annotations

from jobqueue import Discard, job


@job("quick")
async def quick(ctx) -> None:  # type: ignore[no-untyped-def]
    """End at once."""


@job("fails")
async def fails(ctx) -> None:  # type: ignore[no-untyped-def]
    """Fail at the first attempt."""
    if ctx.attempt == 1:
        raise RuntimeError("once")


@job("fails_for_good")
async def fails_for_good(ctx) -> None:  # type: ignore[no-untyped-def]
    """Fail for good."""
    raise Discard("never")
