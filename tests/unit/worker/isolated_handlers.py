"""Handlers that end badly, importable by the process of an isolated run."""

import asyncio
import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jobqueue.worker.handler import Context
from jobqueue.worker.registry import HandlerSpec


async def give(ctx: Context, **data: Any) -> dict[str, Any]:
    print("handlers may print")  # noqa: T201 - that is what this one is for
    await ctx.progress(40, "nearly")
    return {**data, "pid": os.getpid(), "attempt": ctx.attempt, "tenant": ctx.job.tenant_id, "group": os.getpgid(0)}


def give_plain(ctx: Context, n: int) -> int:
    ctx.progress(10)
    return n + 1


def leave(ctx: Context) -> None:
    os._exit(3)


def quit_politely(ctx: Context) -> None:
    raise SystemExit(4)


def fault(ctx: Context) -> None:
    ctypes.string_at(0)


def abort(ctx: Context) -> None:
    os.abort()


def devour(ctx: Context) -> int:
    return len(bytearray(4 * 1024**3))


def devour_bounded(ctx: Context) -> int:
    return len(bytearray(1024**3))


def reject(ctx: Context) -> str:
    return "\x00"


def touch_and_hang(ctx: Context, path: str) -> None:
    """Start a process of its own, write both ids, hang without heeding anything."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    done = Path(path)
    done.with_suffix(".part").write_text(f"{os.getpid()} {other.pid}")
    done.with_suffix(".part").rename(done)
    time.sleep(60)


async def wait(ctx: Context, returns: bool = False) -> str:
    await ctx.progress(1, "waiting")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        assert ctx.cancelled
        if returns:
            return "done anyway"
        raise
    return "never"


def wait_plain(ctx: Context) -> str:
    ctx.progress(1, "waiting")
    while not ctx.cancelled:
        time.sleep(0.01)
    return "saw it"


SPECS = [
    HandlerSpec(function.__name__, function, is_isolated=True)
    for function in (give, give_plain, leave, quit_politely, fault, abort, devour, reject, touch_and_hang, wait, wait_plain)
] + [HandlerSpec("devour_bounded", devour_bounded, is_isolated=True, memory_mib=256)]
