"""A database whose clock was set back to before its own start: lost leases are recovered all the same."""

from __future__ import annotations

import shutil

import pytest

from jobqueue.apps.embedded import EmbeddedServer
from tests import postgres
from tests.engine import UP_S, open_engine
from tests.faults.clocks import build
from tests.programs import temporary_directory

HOUR_S = 3600


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler to build the clock with")
async def test_lost_leases_are_recovered_when_the_clock_says_the_server_has_not_started_yet() -> None:
    with temporary_directory() as directory:
        clock, _ = build(directory)
        server = EmbeddedServer(directory / "postgres", postgres.chosen_binaries())
        try:
            with clock.inherited():
                await server.start()
            await server.ensure_database("faults")
            await postgres.migrate(server.dsn("faults"))
            async with open_engine(server.dsn("faults")) as engine:
                acme = await engine.tenant("acme")
                job_id = await engine.submit(acme)
                lease = await engine.claim_one()
                clock.step_to(-HOUR_S)
                assert await engine.raw.fetchval("SELECT clock_timestamp() < pg_postmaster_start_time()")
                assert await engine.recover(after_s=2 * HOUR_S, up_s=lease.lease_s / 2) == [], "the caller has just come up"
                (recovered,) = await engine.recover(after_s=2 * HOUR_S, up_s=UP_S)
                assert recovered.job_id == job_id
        finally:
            await server.stop()
