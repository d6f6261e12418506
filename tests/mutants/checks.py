"""The suite's own tests as callables: a check passes when it returns and fails when it raises, as under pytest."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from jobqueue.worker.registry import Registry
from tests.engine import Engine, open_engine
from tests.fake_clock import FakeClock
from tests.fakes.backend import FakeEngine
from tests.integration.api.test_live import open_live
from tests.integration.engine.conftest import RESTORE
from tests.integration.engine.interleavings import pairs, test_pairs
from tests.integration.engine.machine import test_machine
from tests.integration.engine.machine.run import run_machine
from tests.unit.worker.test_heartbeater import Ward
from tests.unit.worker.test_running import Gate

Run = Callable[[str], Awaitable[object]]


@dataclass(frozen=True)
class Check:
    """One test of the suite. name: where it stands; run: it, given the address of an empty, migrated database."""

    name: str
    run: Run
    is_slow: bool = False


def place(test: Callable[..., Any]) -> str:
    """Name a test as pytest does."""
    return f"{inspect.getmodule(test).__name__.replace('.', '/')}.py::{test.__name__}"  # type: ignore[union-attr]


def engine_test(test: Callable[..., Awaitable[None]], **given: Any) -> Check:
    """A test of the engine, on the database."""

    async def run(dsn: str) -> None:
        async with AsyncExitStack() as stack:
            engine = await stack.enter_async_context(open_engine(dsn))
            stack.push_async_callback(engine.raw.execute, RESTORE, timeout=30)
            wanted = inspect.signature(test).parameters
            fixtures = {"engine": engine, "clock": FakeClock(), **({"acme": await engine.tenant("acme")} if "acme" in wanted else {})}
            await test(**{name: value for name, value in fixtures.items() if name in wanted}, **given)

    return Check(place(test), run)


def worker_test(test: Callable[..., Awaitable[None]], *, is_slow: bool = False, **given: Any) -> Check:
    """A test of the worker, over the engine in memory."""

    async def run(_: str) -> None:
        registry = Registry()
        gate = Gate()
        registry.job("gate")(gate)
        engine, clock = FakeEngine(), FakeClock()
        fixtures = {"engine": engine, "registry": registry, "gate": gate, "clock": clock, "ward": Ward(engine, clock)}
        await test(**{name: value for name, value in fixtures.items() if name in inspect.signature(test).parameters}, **given)

    return Check(place(test), run, is_slow)


def live_test(test: Callable[..., Awaitable[None]]) -> Check:
    """A test of live streams, on a real server."""

    async def run(dsn: str) -> None:
        try:
            async with open_live(dsn) as live:
                await test(live)
        finally:
            async with open_engine(dsn) as engine:
                await clean(engine)

    return Check(place(test), run, is_slow=True)


def any_order(*, examples: int, steps: int, seed: int) -> Check:
    """The state machine, on a program that its seed decides."""

    async def run(dsn: str) -> None:
        try:
            await asyncio.to_thread(run_machine, dsn, examples=examples, steps=steps, number=seed, shrinks=False)
        finally:
            async with open_engine(dsn) as engine:
                await clean(engine)

    return Check(f"{place(test_machine.test_any_order_of_operations_is_as_the_model_says)} (seed {seed})", run, is_slow=True)


def pair(name: str) -> Check:
    """One meeting of docs/interleavings.md."""
    (meeting,) = [meeting for meeting in pairs.meetings() if str(meeting) == name]

    async def run(dsn: str) -> None:
        async with open_engine(dsn) as engine:
            connection = await engine.connect()
            try:
                await test_pairs.test_pair(engine, connection, meeting)
            finally:
                connection.terminate()
                await clean(engine)

    return Check(f"{place(test_pairs.test_pair)}[{name}]", run)


async def clean(engine: Engine) -> None:
    """Empty the database, whatever a mutant left open."""
    await engine.raw.execute(RESTORE, timeout=30)
