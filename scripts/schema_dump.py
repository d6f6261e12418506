"""Write docs/schema.sql: the migrated schema as Postgres 18 itself tells it, without the weekly partitions.

python scripts/schema_dump.py
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import tempfile
from pathlib import Path

from jobqueue.apps.embedded import EmbeddedServer, packaged_binaries
from jobqueue.operations import migrations

TARGET = Path(__file__).parents[1] / "docs" / "schema.sql"
HEAD = "-- The schema at head, as Postgres 18 tells it (scripts/schema_dump.py), without the weekly partitions.\n\n"
PARTITIONS = "jobqueue.(job|outcome|event|audit)_([0-9]*|rest)"
NOISE = re.compile(r"^(--.*|\\.*|SET .*|SELECT pg_catalog\.set_config.*)$", re.MULTILINE)


def dump(dsn: str, *, binaries: Path | None = None, options: tuple[str, ...] = ("--schema=jobqueue",)) -> str:
    """What pg_dump says of a database, without what differs from day to day."""
    program = (binaries or packaged_binaries()) / "pg_dump"
    arguments = ["--schema-only", "--no-owner", "--no-privileges", f"--exclude-table={PARTITIONS}", *options, f"--dbname={dsn}"]
    # a server's own libraries stand beside it
    environment = {**os.environ, "LD_LIBRARY_PATH": str(program.parents[1] / "lib")}
    told = subprocess.run([program, *arguments], check=True, capture_output=True, text=True, timeout=60, env=environment).stdout
    return re.sub(r"\n{3,}", "\n\n", NOISE.sub("", told)).strip() + "\n"


async def main() -> None:
    """Migrate a server of its own and write what it is then."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-schema-") as directory:
        server = EmbeddedServer(Path(directory))
        await server.start()
        try:
            await migrations.upgrade(server.dsn())
            TARGET.write_text(HEAD + await asyncio.to_thread(dump, server.dsn()), "utf-8")
        finally:
            await server.stop()


if __name__ == "__main__":
    asyncio.run(main())
