"""The embedded server: data survives, leftovers are cleared, nobody else gets in."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from jobqueue.apps.embedded import EmbeddedServer, EmbeddedServerFailed, EmbeddedServerInUse
from tests.postgres import chosen_binaries
from tests.programs import is_alive

pytestmark = pytest.mark.database

OWNER_THAT_DIES = """
import asyncio, sys
from pathlib import Path
from jobqueue.apps.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2] else None)
asyncio.run(server.start())
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="jobqueue-test-embedded-"))
    yield root / "data"
    shutil.rmtree(root, ignore_errors=True)


@pytest_asyncio.fixture
async def own(data_dir: Path) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(data_dir, chosen_binaries())
    yield server
    await server.stop()


async def fetch(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=30)
    try:
        return await connection.fetchval(query, timeout=30)
    finally:
        await connection.close(timeout=30)


async def test_data_and_address_survive_a_restart(own: EmbeddedServer) -> None:
    await own.start()
    dsn = own.dsn()
    await fetch(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    await own.stop()
    assert not own.is_running
    await own.start()
    assert own.dsn() == dsn
    assert await fetch(dsn, "SELECT answer FROM kept") == 42


async def test_committed_data_survives_an_immediate_stop(own: EmbeddedServer) -> None:
    await own.start()
    await fetch(own.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
    await own.stop_immediately()
    await own.start()
    assert await fetch(own.dsn(), "SELECT answer FROM kept") == 42


async def test_killed_postmaster_with_its_pid_file_is_started_again(own: EmbeddedServer, data_dir: Path) -> None:
    await own.start()
    os.kill(own.pid, signal.SIGKILL)
    while own.is_running:
        await asyncio.sleep(0.01)
    assert (data_dir / "cluster" / "postmaster.pid").exists()
    await own.start()
    assert await fetch(own.dsn(), "SELECT 1") == 1


async def test_pid_file_that_names_another_program_does_not_block_the_start(own: EmbeddedServer, data_dir: Path) -> None:
    await own.start()
    pid_file = data_dir / "cluster" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    await own.stop()
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        await own.start()
        assert await fetch(own.dsn(), "SELECT 1") == 1
        assert stranger.poll() is None, "the stranger must not be touched"
        stranger.communicate(b"")


async def test_server_of_a_killed_owner_is_replaced(own: EmbeddedServer, data_dir: Path) -> None:
    arguments = [sys.executable, "-c", OWNER_THAT_DIES, str(data_dir), str(chosen_binaries() or "")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        left_behind = int(owner.stdout.readline())
        owner.kill()
    assert is_alive(left_behind)
    await own.start()
    assert not is_alive(left_behind)
    assert await fetch(own.dsn(), "SELECT 1") == 1


async def test_second_owner_of_a_directory_is_refused(own: EmbeddedServer, data_dir: Path) -> None:
    await own.start()
    with pytest.raises(EmbeddedServerInUse, match="in use"):
        await EmbeddedServer(data_dir, chosen_binaries()).start()
    assert await fetch(own.dsn(), "SELECT 1") == 1


async def test_wrong_password_is_refused(own: EmbeddedServer) -> None:
    await own.start()
    password = (own.data_dir / "password").read_text()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await fetch(own.dsn().replace(password, "guess"), "SELECT 1")


async def test_files_are_private_and_the_server_listens_on_loopback_only(own: EmbeddedServer, data_dir: Path) -> None:
    await own.start()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [data_dir, *data_dir.iterdir()]}
    assert modes == {"data": 0o700, "cluster": 0o700, "password": 0o600, "lock": 0o600, "postgres.log": 0o600}
    assert await fetch(own.dsn(), "SHOW listen_addresses") == "127.0.0.1"
    assert await fetch(own.dsn(), "SHOW unix_socket_directories") == ""


async def test_durability_settings_are_on(own: EmbeddedServer) -> None:
    await own.start()
    settings = (
        "SELECT string_agg(setting, ',' ORDER BY name) FROM pg_settings WHERE name IN ('fsync','full_page_writes','synchronous_commit')"
    )
    assert await fetch(own.dsn(), settings) == "on,on,on"


async def test_half_made_cluster_is_made_anew(own: EmbeddedServer, data_dir: Path) -> None:
    (data_dir / "cluster.new").mkdir(parents=True)
    (data_dir / "cluster.new" / "PG_VERSION").write_text("18\n")
    await own.start()
    assert await fetch(own.dsn(), "SELECT 1") == 1


async def test_failed_start_names_the_fault_and_leaves_no_process_and_no_lock(data_dir: Path) -> None:
    broken = EmbeddedServer(data_dir, chosen_binaries(), options={"shared_buffers": "lots"})
    with pytest.raises(EmbeddedServerFailed, match="shared_buffers"):
        await broken.start()
    assert not broken.is_running
    sound = EmbeddedServer(data_dir, chosen_binaries())
    await sound.start()
    await sound.stop()


async def test_missing_database_is_created_and_an_existing_one_kept(own: EmbeddedServer) -> None:
    await own.start()
    await own.ensure_database("jobqueue")
    await fetch(own.dsn("jobqueue"), "CREATE TABLE kept AS SELECT 42 AS answer")
    await own.ensure_database("jobqueue")
    assert await fetch(own.dsn("jobqueue"), "SELECT answer FROM kept") == 42
