"""Work that is done only for as long as the client stays: long polls must not fetch what nobody will get."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from jobqueue.aio.supervise import spawn
from jobqueue.domain.errors import JobQueueError

Result = TypeVar("Result")


async def while_connected(request: Request, working: Coroutine[Any, Any, Result], *, unwanted: Callable[[Result], None]) -> Result:
    """Await something while the client stays; its body has been read.

    Raises ClientDisconnect when it leaves: what was under way is cancelled, a result nobody waits for is handed to `unwanted`.
    """
    async with asyncio.TaskGroup() as group:
        watch = spawn(group, _until_gone(request), "watch-client")
        work = spawn(group, _outcome_of(working), "work-for-client")
        await asyncio.wait([work, watch], return_when=asyncio.FIRST_COMPLETED)
        is_gone = watch.done()
        if is_gone:
            work.cancel()
        watch.cancel()
    if work.cancelled():
        raise ClientDisconnect
    outcome = work.result()
    if isinstance(outcome, JobQueueError):
        raise outcome
    if is_gone:
        unwanted(outcome)
        raise ClientDisconnect
    return outcome


async def _outcome_of(working: Coroutine[Any, Any, Result]) -> Result | JobQueueError:
    """Keep a foreseen error out of the task group, which would wrap it."""
    try:
        return await working
    except JobQueueError as error:
        return error


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
