"""Can this process do its work now? Asked by probes, so it is answered from memory for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.domain.errors import JobQueueError
from jobqueue.operations import health, server
from jobqueue.operations.health import DatabaseHealth
from jobqueue.store.pool import Database

REMEMBERED_S: Final = 1.0
"""Probes need no credential, so they may not cost a query each."""
HEALTH_S: Final = 15.0
"""How long the database's figures stand."""
ASK_S_MAX: Final = 2.0
OK: Final = "ok"


@dataclass(frozen=True, slots=True)
class Readiness:
    """What was looked at, each `ok` or what is wrong; warnings keep nobody away. figures: of the database, HEALTH_S old at most."""

    checks: Mapping[str, str]
    warnings: Mapping[str, str]
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        """Whether all checks passed."""
        return all(check == OK for check in self.checks.values())


class ReadinessProbe:
    """Looks at the database and the process. One per process."""

    def __init__(self, db: Database, *, needed: str, is_draining: Callable[[], bool], clock: Clock) -> None:
        """needed: the schema's version this program stands on."""
        self._db = db
        self._needed = needed
        self._is_draining = is_draining
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._seen: Readiness | None = None
        self._seen_at_s = float("-inf")
        self._health: DatabaseHealth | None = None
        self._health_at_s = float("-inf")

    async def ask(self) -> Readiness:
        """Answer how things are, at most REMEMBERED_S ago; draining at once."""
        async with self._one_at_a_time:
            if self._seen is None or self._clock.monotonic() - self._seen_at_s > REMEMBERED_S:
                self._seen = await self._look()
                self._seen_at_s = self._clock.monotonic()
        process = "draining" if self._is_draining() else OK
        return Readiness({"process": process, **self._seen.checks}, self._seen.warnings, self._seen.figures)

    async def _look(self) -> Readiness:
        try:
            async with asyncio.timeout(ASK_S_MAX):
                facts = await server.facts(self._db)
                await server.check_schema(self._db, needed=self._needed)
        except TimeoutError:
            return Readiness({"database": f"no answer within {ASK_S_MAX:g} s"}, {})
        except JobQueueError as error:
            return Readiness({"database": f"{error.code}: {error}"}, {})
        warnings = (
            {} if facts.is_safe else {"durability": "the server runs with fsync or full_page_writes off: a crash loses accepted jobs"}
        )
        found = await self._look_closely()
        if found is None:
            return Readiness({"database": OK, "schema": OK}, warnings)
        return Readiness({"database": OK, "schema": OK}, {**warnings, **found.warnings}, found.figures)

    async def _look_closely(self) -> DatabaseHealth | None:
        """Read the database's health, once in HEALTH_S; it decides nothing, so what it meets is let go."""
        if self._clock.monotonic() - self._health_at_s > HEALTH_S:
            self._health_at_s = self._clock.monotonic()
            try:
                async with asyncio.timeout(ASK_S_MAX):
                    self._health = await health.read(self._db)
            except (TimeoutError, JobQueueError):
                self._health = None
        return self._health
