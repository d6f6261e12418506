"""PgBouncer in transaction mode before a test's database, where it is installed."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from tests.whole.roles import free_port

START_S_MAX: Final = 10.0
UNPRIVILEGED: Final = "nobody"
"""PgBouncer refuses to run as root."""
SETTINGS: Final = """
[databases]
* = {target}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 200
logfile = {directory}/pgbouncer.log
pidfile = {directory}/pgbouncer.pid
"""


def binary() -> str | None:
    """Where it is."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@asynccontextmanager
async def pooled(dsn: str, *, connections: int = 3) -> AsyncIterator[str]:
    """Run it with so few server connections that clients must share them; answers the DSN that goes through it."""
    program = binary()
    assert program is not None
    parts = urlsplit(dsn)
    directory = Path(tempfile.mkdtemp(prefix="jobqueue-test-pooler-"))
    directory.chmod(0o777)
    port = free_port()
    target = f"host={parts.hostname} port={parts.port} user={unquote(parts.username or 'postgres')}"
    target += f" password={unquote(parts.password)}" if parts.password else ""
    settings = directory / "pgbouncer.ini"
    settings.write_text(SETTINGS.format(target=target, port=port, connections=connections, directory=directory))
    arguments = [program, "--quiet", *(["--user", UNPRIVILEGED] if os.geteuid() == 0 else []), str(settings)]
    process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        async with asyncio.timeout(START_S_MAX):
            while not await _listens(port):
                assert process.poll() is None, process.stderr.read() if process.stderr else ""
                await asyncio.sleep(0.02)
        yield f"postgresql://{parts.username or 'postgres'}@127.0.0.1:{port}{parts.path}"
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
        shutil.rmtree(directory, ignore_errors=True)


async def _listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
        return True
    return False
