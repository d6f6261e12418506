"""Roll a deployment from one version to the next under load: schema first, then API, workers, reaper, one after the other.

    python -m tests.deployed.upgrade [--from COMMIT] [--seconds 10]

The next version is this source with one more migration, additive as the guide asks for (a column on the busiest table, a table, an index),
and needs it: its roles refuse to start before. The old version is this source as it is; with --from it is the source of an earlier commit,
out of this repository's history, run by its own code against the same database. Clients go on all the while, as behind a load balancer
that stops sending to a process some moments before it is told to end. While the schema changes a stranger reads the busiest table in a
transaction that stays open, as a dump does: the change has to wait for it, and must not hold up everybody behind it.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobqueue.operations.server import SCHEMA_NEEDED
from tests import programs
from tests.deployed.load import Load, Promised, drained, missing
from tests.deployed.servers import DATABASE, connected, directory, server_in, until_true
from tests.deployed.telling import say
from tests.whole.roles import Roles, free_port

ROOT: Final = Path(__file__).parents[2]
NEXT: Final = "9000"
PAUSE_S: Final = 0.5
"""What a load balancer takes to send nothing more; preStop in k8s/base/api.yaml."""
STOP_S_MAX: Final = 60.0
APIS: Final = 2
ACKS_BESIDE: Final = 100
"""Submits and settles that must be acknowledged while the migration waits for a table."""
WAITS: Final = """
SELECT true FROM pg_stat_activity WHERE application_name = 'jobqueue-migrate' AND wait_event_type = 'Lock'
"""
MIGRATION: Final = f'''"""One more: additive."""

from alembic import op

revision = "{NEXT}"
down_revision = "{SCHEMA_NEEDED}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column on a busy table, a table, an index."""
    op.execute("ALTER TABLE jobqueue.job ADD COLUMN flavour text")
    op.execute("ALTER TABLE jobqueue.ready ADD COLUMN flavour text")
    op.execute("CREATE TABLE jobqueue.flavour (name text PRIMARY KEY)")
    op.execute("CREATE INDEX flavoured ON jobqueue.ended (status, ended_at)")


def downgrade() -> None:
    """Not needed here."""
'''


@dataclass(frozen=True)
class Version:
    """A source tree of the product: src/ and alembic/."""

    tree: Path

    @property
    def schema(self) -> str:
        """The migration it needs."""
        found = re.search(r'SCHEMA_NEEDED: Final = "(\d+)"', (self.tree / "src/jobqueue/operations/server.py").read_text())
        assert found is not None
        return found[1]

    def run(self, *arguments: str, dsn: str) -> str:
        """Run one of its commands to its end; answers what it says."""
        environment = programs.environment(JOBQUEUE_DATABASE_URL=dsn, PYTHONPATH=str(self.tree / "src"))
        command = [*programs.PROGRAM, *arguments]
        return subprocess.run(command, env=environment, check=True, timeout=STOP_S_MAX, stdout=subprocess.PIPE, text=True).stdout


@dataclass(frozen=True)
class Rolled:
    """What clients saw. together_s: how long both versions ran side by side, on the newer schema."""

    old_schema: str
    new_schema: str
    migrated_s: float
    together_s: float
    acks: int
    failed: dict[int, int]
    broken_lines: int
    lost: int


async def run(*, from_commit: str | None, seconds: float, is_short: bool = False) -> Rolled:
    """Roll once. seconds: of load before, between and after, together. is_short: one API, one worker, no way back."""
    async with directory() as where:
        old = earlier(from_commit, where / "old") if from_commit else Version(ROOT)
        new = following(where / "new")
        server = server_in(where / "server")
        try:
            await server.start()
            await server.ensure_database(DATABASE)
            dsn = server.dsn(DATABASE)
            await asyncio.to_thread(old.run, "migrate", dsn=dsn)
            return await _roll(old, new, dsn, where, seconds, is_short=is_short)
        finally:
            await server.stop()


def following(tree: Path) -> Version:
    """Make the next version: this source, one migration further, and in need of it."""
    for part in ("src", "alembic"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "alembic" / "versions" / f"{NEXT}_flavour.py").write_text(MIGRATION)
    source = tree / "src/jobqueue/operations/server.py"
    source.write_text(source.read_text().replace(f'SCHEMA_NEEDED: Final = "{SCHEMA_NEEDED}"', f'SCHEMA_NEEDED: Final = "{NEXT}"'))
    return Version(tree)


def earlier(commit: str, tree: Path) -> Version:
    """Take an earlier version out of the repository's history."""
    packed = subprocess.run(["git", "-C", ROOT, "archive", commit, "src", "alembic"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(tree, filter="data")
    return Version(tree)


class Fleet:
    """The processes of one version on the database."""

    def __init__(self, version: Version, dsn: str, logs: Path) -> None:
        logs.mkdir()
        self._settings = {"JOBQUEUE_LOG_LEVEL": "warning", "PYTHONPATH": f"{version.tree / 'src'}:{ROOT}"}
        self._dsn = dsn
        self._logs = logs
        self._places: list[Roles] = []

    def place(self) -> Roles:
        """A place for one process more, with a port of its own."""
        (logs := self._logs / str(len(self._places))).mkdir()
        self._places.append(Roles(self._dsn, logs, dict(self._settings), port=free_port()))
        return self._places[-1]

    async def api(self) -> Roles:
        """One more API, ready."""
        place = self.place()
        await place.wait_until_ready(place.start("api", "--port", str(place.port)))
        return place

    def start(self, role: str) -> Roles:
        """One more worker or reaper."""
        place = self.place()
        place.start(role)
        return place

    def stop(self) -> None:
        """End what still runs."""
        for place in self._places:
            place.stop()


async def retire(place: Roles) -> None:
    """Tell a process to end, as Kubernetes does; it drains and ends with 0."""
    (process,) = place.processes
    assert process.poll() is None, f"it has ended before: {process.returncode}, see {place.log_dir}"
    process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(process.wait, STOP_S_MAX)
    assert code == 0, (code, [log.read_text() for log in place.log_dir.iterdir()])


@contextmanager
def fleets(old: Version, new: Version, dsn: str, where: Path) -> Iterator[tuple[Fleet, Fleet]]:
    """Both fleets, ended with the block."""
    before, after = Fleet(old, dsn, where / "old_logs"), Fleet(new, dsn, where / "new_logs")
    try:
        yield before, after
    finally:
        before.stop()
        after.stop()


async def _roll(old: Version, new: Version, dsn: str, where: Path, seconds: float, *, is_short: bool) -> Rolled:
    with fleets(old, new, dsn, where) as (before, after):
        await asyncio.to_thread(old.run, "tenants", "create", "rolled", "--plan", "enterprise", dsn=dsn)
        api_key = (await asyncio.to_thread(old.run, "keys", "create", "--tenant", "rolled", dsn=dsn)).split()[-1]
        apis = [await before.api() for _ in range(1 if is_short else APIS)]
        others = [(role, before.start(role)) for role in (("worker",) if is_short else ("worker", "reaper"))]
        load = Load([api.url for api in apis], api_key)
        async with load.running() as promised:
            await asyncio.sleep(seconds / 3)
            migrated_s = await _migrate(new, dsn, promised)
            together_at = time.monotonic()
            for api in apis:
                await _replace(load, api, await after.api())
                await asyncio.sleep(seconds / 3 / len(apis))
            for role, place in others:
                after.start(role)
                await retire(place)
            together_s = time.monotonic() - together_at
            await asyncio.sleep(seconds / 3)
        await drained(dsn, within_s=120)
        if not is_short:
            await retire(await before.api())  # back: the old version starts on the newer schema
        lost = await missing(dsn, promised, is_drained=True)
    return Rolled(
        old.schema,
        new.schema,
        round(migrated_s, 2),
        round(together_s, 2),
        promised.acks,
        promised.failed_answers,
        promised.broken_lines,
        len(lost.submitted) + len(lost.settled) + len(lost.without_end),
    )


async def _migrate(new: Version, dsn: str, promised: Promised) -> float:
    """Migrate beside an open transaction that reads the busiest table; it ends when clients were served while the change waited."""
    started_at = time.monotonic()
    async with connected(dsn) as reader, asyncio.TaskGroup() as group:
        transaction = reader.transaction()
        await transaction.start()
        await reader.fetch("SELECT job_id FROM jobqueue.job LIMIT 1")
        migrating = group.create_task(asyncio.to_thread(new.run, "migrate", dsn=dsn))
        async with connected(dsn) as connection:
            await until_true(connection, WAITS)
            acks = promised.acks
            async with asyncio.timeout(STOP_S_MAX):
                while promised.acks < acks + ACKS_BESIDE:
                    await asyncio.sleep(0.02)
            assert not migrating.done(), "the migration did not wait for the reader"
        await transaction.rollback()
    async with connected(dsn) as connection:
        assert await connection.fetchval("SELECT version_num FROM jobqueue.schema_version") == new.schema
    return time.monotonic() - started_at


async def _replace(load: Load, old: Roles, new: Roles) -> None:
    """The new one gets requests, the old one no more; then it is told to end."""
    load.urls[:] = [*(url for url in load.urls if url != old.url), new.url]
    await asyncio.sleep(PAUSE_S)
    await retire(old)


def main() -> int:
    """Run and tell; 0 when no client noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="from_commit", help="commit whose source is the old version")
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    rolled = asyncio.run(run(from_commit=arguments.from_commit, seconds=arguments.seconds))
    say(str(rolled))
    return 1 if rolled.failed or rolled.broken_lines or rolled.lost else 0


if __name__ == "__main__":
    sys.exit(main())
