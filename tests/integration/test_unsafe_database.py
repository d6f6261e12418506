"""A server that would lose accepted jobs is refused at the start."""

import asyncio
from collections.abc import Iterator

import pytest

from jobqueue.apps.embedded import EmbeddedServer
from tests import programs
from tests.postgres import chosen_binaries, migrate

pytestmark = [pytest.mark.database, pytest.mark.slow]


@pytest.fixture(scope="module")
def unsafe_database() -> Iterator[str]:
    """A migrated database on a server with fsync off."""
    with programs.temporary_directory() as directory, asyncio.Runner() as runner:
        server = EmbeddedServer(directory, chosen_binaries(), options={"fsync": "off"})
        runner.run(server.start())
        try:
            runner.run(migrate(server.dsn()))
            yield server.dsn()
        finally:
            runner.run(server.stop())


@pytest.mark.parametrize("role", ["api", "worker", "reaper"])
def test_role_refuses_a_server_without_fsync(unsafe_database: str, role: str) -> None:
    ended = programs.run(role, DATABASE_URL=unsafe_database, API_SECRET_KEY="s" * 32, JOBQUEUE_METRICS_PORT="0")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended
    assert "fsync=off" in ended.stderr
    assert "JOBQUEUE_ACCEPT_UNSAFE_DATABASE" in ended.stderr


def test_it_is_used_when_a_setting_accepts_it(unsafe_database: str) -> None:
    ended = programs.run("tenants", "list", DATABASE_URL=unsafe_database, JOBQUEUE_ACCEPT_UNSAFE_DATABASE="true")
    assert ended.returncode == 0, ended
