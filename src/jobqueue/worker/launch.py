"""Start coroutines that mostly end at their first step, without a task for each: many first steps are taken in one task.

Python's eager tasks (3.12) still make a task a coroutine; here one is only kept by a coroutine that waits for something.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any


def spawn_apart(coroutine: Coroutine[Any, Any, None], *, name: str, context: Context | None = None) -> asyncio.Task[None]:
    """Run the coroutine as a task of its own. It must not raise; the caller keeps the task."""
    return asyncio.get_running_loop().create_task(coroutine, name=name, context=context)


def first_step(coroutine: Coroutine[Any, Any, None], context: Context) -> Rest | None:
    """Take a coroutine's first step in the present task; None when that was all of it. It must not raise.

    The present task must await the rest, and do nothing else after that: whoever cancels the task means this coroutine.
    """
    try:
        return Rest(coroutine, context, context.run(coroutine.send, None))
    except StopIteration:
        return None


class Rest:
    """What is left of a coroutine after its first step: await it."""

    __slots__ = ("_awaited", "_context", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, None], context: Context, awaited: Any) -> None:
        self._coroutine = coroutine
        self._context = context
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, None]:
        awaited, run, coroutine = self._awaited, self._context.run, self._coroutine
        try:
            while True:
                try:
                    sent = yield awaited
                except GeneratorExit:  # the loop is gone
                    coroutine.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - a cancellation, or what was waited for failed: the coroutine's to handle
                    awaited = run(coroutine.throw, error)
                else:
                    awaited = run(coroutine.send, sent)
        except StopIteration:
            return
