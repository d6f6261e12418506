"""A data directory that has just been made survives a power cut: `jobqueue dev` accepts jobs from its first second."""

from __future__ import annotations

import asyncpg
import pytest

from jobqueue.apps.embedded import EmbeddedServer
from tests.faults.power import Disk, why_not
from tests.programs import temporary_directory

REASON = why_not()
ROWS = 100


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
@pytest.mark.parametrize("fsync", ["on", "off"])
async def test_what_a_new_cluster_has_committed_is_there_after_a_power_cut_unless_fsync_is_off(fsync: str) -> None:
    with temporary_directory() as directory, Disk.mounted(directory) as disk:
        server = EmbeddedServer(disk.path / "postgres", options={"fsync": fsync})
        try:
            await server.start()
            connection = await asyncpg.connect(server.dsn())
            await connection.execute("CREATE TABLE kept (number int)")
            for number in range(ROWS):
                await connection.execute("INSERT INTO kept VALUES ($1)", number)
            connection.terminate()
            disk.cut()
            await server.stop_immediately()
            disk.restore()
            await server.start()
            connection = await asyncpg.connect(server.dsn())
            found = await connection.fetchval("SELECT to_regclass('kept') IS NOT NULL")
            rows = await connection.fetchval("SELECT count(*) FROM kept") if found else 0
            connection.terminate()
            assert (rows == ROWS) == (fsync == "on"), rows
        finally:
            await server.stop()
