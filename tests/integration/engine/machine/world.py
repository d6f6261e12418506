"""The real side of the state machine: one engine on one event loop of its own, kept open from example to example."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from jobqueue.domain.errors import JobQueueError, WrongState
from jobqueue.domain.job import JobRequest
from jobqueue.operations.jobs import Caller
from jobqueue.operations.naming import NameBook
from tests.engine import PLACES_TWICE, Engine, open_engine
from tests.integration.engine.conftest import RESTORE

TENANTS: Final = ("acme", "other")


class World:
    """An engine whose acts are called without await. seen: what happened how often, over all examples."""

    def __init__(self, runner: asyncio.Runner, engine: Engine) -> None:
        self._runner = runner
        self.engine = engine
        self.callers: list[Caller] = []
        self.seen: Counter[str] = Counter()

    def do(self, act: Coroutine[Any, Any, Any]) -> Any:
        """Run one act to its end."""
        return self._runner.run(act)

    def tried(self, act: Coroutine[Any, Any, Any]) -> Any:
        """Run one act; a refusal is answered as its code, a wrong state with the state."""
        try:
            return self.do(act)
        except WrongState as refusal:
            return f"{refusal.code} {refusal.status}"
        except JobQueueError as refusal:
            return refusal.code

    def submit(self, caller: Caller, requests: Sequence[JobRequest]) -> list[Any]:
        """Submit at the same time; answers each, a refusal as its code."""

        async def submit() -> list[Any]:
            async with self.engine.submitter() as submitter:
                return await asyncio.gather(*(submitter.submit(caller.tenant_id, one) for one in requests), return_exceptions=True)

        answers = self.do(submit())
        return [answer.code if isinstance(answer, JobQueueError) else answer for answer in answers]

    def begin(self) -> None:
        """Empty the database and make the tenants."""
        self.do(self._begin())

    async def _begin(self) -> None:
        engine = self.engine
        await engine.raw.execute(RESTORE, timeout=30)
        engine.names = NameBook(engine.db)
        engine._worker_ids.clear()
        engine.woken.clear()
        self.callers = [await engine.tenant(name) for name in TENANTS]

    def places_twice(self) -> list[Any]:
        """Jobs that are in two places."""
        return list(self.do(self.engine.raw.fetch(PLACES_TWICE)))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read rows."""
        return [tuple(row) for row in self.do(self.engine.raw.fetch(query))]


@contextmanager
def open_world(dsn: str) -> Iterator[World]:
    """Connect to a migrated database that is nobody else's now."""
    with asyncio.Runner() as runner:
        context = open_engine(dsn, size=2)
        engine = runner.run(context.__aenter__())
        try:
            yield World(runner, engine)
        finally:
            runner.run(context.__aexit__(None, None, None))
