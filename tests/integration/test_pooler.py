"""Behind a transaction pooler that knows no prepared statements (PgBouncer before 1.21) all works, over shared server connections."""

import asyncio
from pathlib import Path

import pytest

from jobqueue.operations.naming import NameBook
from jobqueue.store.pool import Database
from jobqueue.store.statements import compile_statement
from tests.engine import open_engine, request
from tests.pooler import binary, pooled
from tests.whole.roles import Roles, each, until

pytestmark = [pytest.mark.skipif(binary() is None, reason="PgBouncer is not installed: make test-pooler"), pytest.mark.timeout(120)]
JOBS = 300
PID = compile_statement("tests/pid", "SELECT pg_backend_pid() AS pid, pg_sleep(0.01)")


async def test_a_pooler_is_noticed_and_a_server_is_not_taken_for_one(database: str) -> None:
    async with pooled(database) as dsn:
        for address, expected in ((dsn, True), (database, False)):
            db = await Database.open(address, size=2, application_name="tests")
            assert db.is_pooled is expected
            await db.close()


async def test_many_calls_share_few_server_connections(database: str) -> None:
    async with pooled(database, connections=2) as dsn:
        db = await Database.open(dsn, size=10, application_name="tests")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(db.fetch_value(PID)) for _ in range(100)]
        await db.close()
    assert len({task.result() for task in tasks}) == 2


async def test_the_engine_works_through_a_pooler(database: str) -> None:
    async with pooled(database) as dsn, open_engine(database) as engine:
        direct, engine.db = engine.db, await Database.open(dsn, size=6, application_name="tests")
        engine.names = NameBook(engine.db)
        caller = await engine.tenant()
        stored = await engine.submit_all(caller, [request(key=f"k{number}") for number in range(100)])
        again = await engine.submit_all(caller, [request(key=f"k{number}") for number in range(100)])
        assert [one.job_id for one in again] == [one.job_id for one in stored]
        leases = await engine.claim(jobs_max=100)
        assert {lease.job_id for lease in leases} == {one.job_id for one in stored}
        for lease in leases[:10]:
            await engine.start(lease)
        for lease in leases:
            await engine.settle(lease)
        await engine.check_counts()
        await engine.db.close()
        engine.db = direct


async def test_a_whole_deployment_works_through_a_pooler(database: str, tmp_path: Path) -> None:
    async with pooled(database) as dsn:
        roles = Roles(dsn, tmp_path, {"JOBQUEUE_DATABASE_DIRECT_URL": database, "JOBQUEUE_LOG_LEVEL": "warning"})
        try:
            await roles.start_api()
            roles.start("worker")
            roles.start("reaper")
            async with roles.client() as client:

                async def submit(number: int) -> str:
                    body = {"payload": {"job_type": "echo", "data": {"number": number}}}
                    answer = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": f"echo-{number}"})
                    assert answer.status_code == 201, answer.text
                    return str(answer.json()["id"])

                assert len(set(await each(range(JOBS), submit))) == JOBS

                async def all_succeeded() -> bool:
                    by_status = (await client.get("/v1/jobs/stats")).json()["by_status"]
                    return bool(by_status["succeeded"] == JOBS)

                await until(all_succeeded, within_s=40)
        finally:
            roles.stop()
    logs = {log.name: log.read_text() for log in tmp_path.glob("*.log")}
    assert "prepared statement" not in "".join(logs.values()), logs
