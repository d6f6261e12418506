"""Start a coroutine as a task whose first step, where Python can, is taken at once instead of in the loop's next turn."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any


def launch(coroutine: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None] | None:
    """Run the coroutine as a task; None when it was over at its first step. It must not raise."""
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        task = asyncio.Task(coroutine, loop=loop, name=name, eager_start=True)
        return None if task.done() else task
    return loop.create_task(coroutine, name=name)
