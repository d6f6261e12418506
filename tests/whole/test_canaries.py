"""No log has a secret in it: canaries go in at every door of a busy deployment, at the most talkative level, errors included."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Callable
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.whole.roles import Roles, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FIXED = ("timestamp", "level", "event")
SHOWN_S_MAX = 120.0


class Canaries:
    """Strings that exist nowhere else, by where they went in."""

    def __init__(self) -> None:
        self.by_place: dict[str, str] = {}

    def __call__(self, place: str) -> str:
        return self.by_place.setdefault(place, f"canary{secrets.token_hex(12)}")

    def caught(self, place: str, text: str) -> str:
        """Count what the product made itself as one, too."""
        self.by_place[place] = text
        return text


async def test_no_role_writes_a_secret_or_a_payload(roles: Roles) -> None:
    canary = Canaries()
    roles.settings = {
        "JOBQUEUE_LOG_LEVEL": "debug",
        "JOBQUEUE_LOG_FORMAT": "json",
        "JOBQUEUE_HANDLERS": "tests.whole.canary_handlers",
        "JOBQUEUE_LEASE_SECONDS": "5",
        "JOBQUEUE_REGISTRATION": "open",
        "JOBQUEUE_API_SECRET_KEY": canary("signing key") + "0" * 32,
        "JOBQUEUE_SMTP_HOST": "127.0.0.1",
        "JOBQUEUE_SMTP_PORT": "1",
        "JOBQUEUE_SMTP_USERNAME": "jobs",
        "JOBQUEUE_SMTP_PASSWORD": canary("mail password"),
        "JOBQUEUE_SMTP_FROM": "jobs@example.com",
    }
    canary.caught("database password", roles.dsn.split("://", 1)[1].rsplit("@", 1)[0].partition(":")[2])
    await roles.start_api()
    canary.caught("api key", roles.api_key)
    roles.start("reaper")
    roles.start("worker")
    async with roles.client() as client:
        await people(client, canary)
        await refused(client, canary)
        await ended(client, canary)
        await by_hand(client, canary)
        await cut_off(roles, client, canary)
        await killed(roles, client, canary)
    for arguments in (("worker",), ("migrate",)):  # a role that is set up wrongly says so, and not with what
        roles.settings = {**roles.settings, "JOBQUEUE_DATABASE_URL": with_password(roles.dsn, canary("wrong password"))}
        assert roles.start(*arguments).wait(60) != 0
    roles.stop()
    check_logs(roles, canary)


async def people(client: httpx2.AsyncClient, canary: Canaries) -> None:
    """Accounts, tokens and keys; right ones and wrong ones."""
    account = {"email": "ann@example.com", "password": canary("password")}
    made = await client.post("/auth/register", json={**account, "tenant": "umbrella"})
    assert made.status_code == 201, made.text
    token = canary.caught("token of a person", made.json()["access_token"])
    assert (await client.post("/auth/login", json={**account, "password": canary("another password")})).status_code == 401
    assert (await client.post("/auth/login", json=account)).status_code == 200
    bearer = {"Authorization": f"Bearer {token}"}
    key = await client.post("/v1/api-keys", json={"name": "k", "scopes": ["jobs:read"]}, headers=bearer)
    assert key.status_code == 201, key.text
    canary.caught("key of a person", key.json()["api_key"])
    ticket = await client.post("/v1/stream/tickets", headers=bearer)
    canary.caught("ticket", ticket.json()["ticket"])
    wrong = "jq_" + canary("wrong key")
    assert (await client.post("/auth/token", json={"api_key": wrong})).status_code == 401
    assert (await client.get("/v1/jobs", headers={"Authorization": f"Bearer {wrong}"})).status_code == 401


async def refused(client: httpx2.AsyncClient, canary: Canaries) -> None:
    """Requests that are wrong, each in its own way."""
    job = {"payload": {"job_type": "echo", "data": {"secret": canary("refused data")}}}
    assert (await submit(client, canary, {**job, "priority": canary("field")})).status_code == 422
    assert (await submit(client, canary, {**job, canary("field name"): 1})).status_code == 422
    zero = {"payload": {"job_type": "echo", "data": {"secret": canary("unstorable") + "\x00"}}}
    assert (await submit(client, canary, zero)).status_code == 422
    broken = f'{{"payload": {canary("broken JSON")}'.encode()
    headers = {"Idempotency-Key": canary("key of a broken one"), "Content-Type": "application/json"}
    assert (await client.post("/v1/jobs", content=broken, headers=headers)).status_code in (400, 422)
    rows = f"name,secret\na,{canary('row')}\nb,{canary('bad row')},too,many\n".encode()
    answer = await client.post("/v1/jobs/import?job_type=echo", content=rows, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 200, answer.text
    batch = {"jobs": [{"idempotency_key": canary("batch key"), **job, "metadata": {"m": canary("metadata")}}]}
    assert (await client.post("/v1/jobs/batch", json=batch)).status_code == 200


async def ended(client: httpx2.AsyncClient, canary: Canaries) -> None:
    """Jobs that succeed and fail in the worker on the database."""
    good = await submit(client, canary, {"payload": {"job_type": "keeps_secret", "data": {"secret": canary("data")}}}, wait=True)
    assert good.json()["status"] == "succeeded", good.text
    data = {"secret": canary("message of an error")}
    bad = await submit(client, canary, {"payload": {"job_type": "tells_secret", "data": data}, "max_attempts": 1}, wait=True)
    assert bad.json()["status"] == "dlq", bad.text
    mail = {"to": "a@example.com", "subject": canary("subject"), "text": canary("mail text")}
    await submit(client, canary, {"payload": {"job_type": "email", "data": mail}, "max_attempts": 1}, wait=True)
    unknown = await submit(client, canary, {"payload": {"job_type": "echo", "data": {"secret": canary("echoed")}}}, wait=True)
    assert unknown.json()["status"] == "succeeded"


async def by_hand(client: httpx2.AsyncClient, canary: Canaries) -> None:
    """A worker over HTTP that settles twice, with a wrong token, and with a result that cannot be stored."""
    for number in range(2):
        data = {"secret": canary(f"handed over {number}")}
        assert (await submit(client, canary, {"payload": {"job_type": "by_hand", "data": data}})).status_code == 201
    claim = {"worker_id": "hand", "queues": ["*"], "job_types": ["by_hand"], "max_jobs": 2, "wait_seconds": 10}
    leases = (await client.post("/v1/leases", json=claim)).json()["leases"]
    for lease in leases:
        canary.caught(f"token of {lease['job']['id']}", lease["lease_token"])
    outcomes = [
        {"job_id": lease["job"]["id"], "lease_token": lease["lease_token"], "outcome": "succeeded", "result": {"r": canary("result") + end}}
        for lease, end in zip(leases, ("", "\x00"), strict=False)
    ]
    for _ in range(2):
        assert (await client.post("/v1/leases/settle", json={"outcomes": outcomes})).status_code == 200
    path = f"/v1/jobs/{leases[0]['job']['id']}/fail"
    error = {"type": "Boom", "message": canary("reported error"), "traceback": canary("reported traceback")}
    late = await client.post(path, json={"lease_token": "00000000-0000-4000-8000-000000000000", "error": error})
    assert late.status_code == 409, late.text


async def cut_off(roles: Roles, client: httpx2.AsyncClient, canary: Canaries) -> None:
    """The database drops all connections, twice, in the middle of work; then all goes on."""
    outside = await asyncpg.connect(roles.dsn, timeout=30)
    try:
        for number in range(2):
            await outside.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

            async def goes_through(key: str = f"after {number}") -> bool:
                body = {"payload": {"job_type": "keeps_secret", "data": {"secret": canary(key)}}}
                answer = await submit(client, canary, body, wait=True)
                return answer.status_code in (200, 201) and answer.json()["status"] == "succeeded"

            await until(goes_through, within_s=SHOWN_S_MAX)
    finally:
        await outside.close()


async def killed(roles: Roles, client: httpx2.AsyncClient, canary: Canaries) -> None:
    """A worker is killed with a job in its hands, whose lease the reaper takes back."""
    body = {"payload": {"job_type": "hangs", "data": {"secret": canary("killed")}}, "max_attempts": 1}
    job_id = (await submit(client, canary, body)).json()["id"]

    async def is_now(status: str) -> bool:
        return bool((await client.get(f"/v1/jobs/{job_id}")).json()["status"] == status)

    await until(lambda: is_now("running"), within_s=SHOWN_S_MAX)
    roles.processes[2].send_signal(signal.SIGKILL)
    roles.processes[2].wait(60)
    await until(lambda: is_now("dlq"), within_s=SHOWN_S_MAX)


async def submit(client: httpx2.AsyncClient, canary: Canaries, body: dict[str, Any], *, wait: bool = False) -> httpx2.Response:
    key = canary(f"key {len(canary.by_place)}")
    return await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key, **({"Prefer": "wait=30"} if wait else {})})


def with_password(dsn: str, password: str) -> str:
    scheme, _, rest = dsn.partition("://")
    user, _, host = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}:{password}@{host}"


def check_logs(roles: Roles, canary: Canaries) -> None:
    """No canary is in anything written, and every line of the roles is JSON with the fixed fields first."""
    logs = {log.name: log.read_text() for log in sorted(roles.log_dir.glob("*.log"))}
    for place, text in canary.by_place.items():
        told = [name for name, written in logs.items() if text in written]
        assert not told, f"{place} is in {told}: {context(logs[told[0]], text)}"
    lines = {name: [json.loads(line) for line in written.splitlines()] for name, written in logs.items() if name[0] in "012"}
    for name, found in lines.items():
        assert found, name
        assert all(tuple(line)[:3] == FIXED for line in found), name
    events: Callable[[str], set[str]] = lambda role: {line["event"] for name, found in lines.items() if role in name for line in found}  # noqa: E731
    assert {"request.served", "job.submitted", "lease.acquired", "stale_write.refused"} <= events("api")
    assert {"lease.acquired", "job.completed", "handler.works", "about to fail"} <= events("worker")
    assert {"leader.elected", "job.lease_expired", "queue.measured"} <= events("reaper")


def context(written: str, text: str) -> str:
    at = written.index(text)
    return written[max(0, at - 300) : at + len(text) + 50]
