"""Ask a real Prometheus that scrapes a running service under load: each panel's and each alert's query returns data.

    make test-alerts

Two reapers, two workers and an API on a database of their own. Also held: what promtool says of the rules and of their tests, that
Prometheus evaluates every rule, and that sums over all processes are right although there are two reapers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx2

from tests.alerts.files import RULE_TESTS, RULES, queries
from tests.postgres import Databases, migrate, running_server
from tests.whole.roles import Roles, free_port, until

LOAD_S: Final = 30.0
"""Some scrapes' worth, so that rates have what to be made of."""
SETTLED_S_MAX: Final = 60.0
JOBS_LEFT: Final = 40
HANDLERS: Final = "tests.alerts.handlers"


async def run() -> int:
    """Do it; answers how many queries returned nothing."""
    for arguments in (["check", "rules", str(RULES)], ["test", "rules", str(RULE_TESTS)]):
        subprocess.run(["promtool", *arguments], check=True)
    async with running_server() as server:
        databases = Databases(server.dsn())
        await databases.ensure_template(migrate)
        with tempfile.TemporaryDirectory() as directory:
            roles = Roles(databases.dsn(await databases.copy()), Path(directory), {"JOBQUEUE_HANDLERS": HANDLERS})
            try:
                targets = await start_all(roles)
                async with prometheus(Path(directory), targets) as client, roles.client() as api:
                    await load(api)
                    await check_sums(client, api)
                    return await ask_all(client)
            finally:
                roles.stop()


async def start_all(roles: Roles) -> dict[str, list[str]]:
    """Start every role on a metrics port of its own; answers the addresses by role."""
    targets: dict[str, list[str]] = {}

    def port_for(role: str) -> None:
        port = free_port()
        roles.settings = {**roles.settings, "JOBQUEUE_METRICS_PORT": str(port), "JOBQUEUE_RETRY_BASE_SECONDS": "0.1"}
        targets.setdefault(role, []).append(f"127.0.0.1:{port}")

    port_for("api")
    await roles.start_api()
    for role in ("reaper", "reaper", "worker", "worker"):
        port_for(role)
        roles.start(role)
    return targets


@contextlib.asynccontextmanager
async def prometheus(directory: Path, targets: dict[str, list[str]]) -> AsyncIterator[httpx2.AsyncClient]:
    """Run Prometheus with our rules while the block runs."""
    port = free_port()
    scraped = [{"targets": found, "labels": {"role": role}} for role, found in targets.items()]
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "jobqueue", "static_configs": scraped}],
    }
    (directory / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={directory}/tsdb",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

            async def is_ready() -> bool:
                assert process.poll() is None, (directory / "prometheus.log").read_text()
                with contextlib.suppress(httpx2.TransportError):
                    return (await client.get("/-/ready")).status_code == 200
                return False

            await until(is_ready, within_s=SETTLED_S_MAX)
            yield client
    finally:
        process.terminate()
        process.wait(30)


async def load(api: httpx2.AsyncClient) -> None:
    """Submit, read, fail and cancel for a while; leave some jobs that nobody takes."""
    began = time.monotonic()
    number = 0
    while time.monotonic() - began < LOAD_S:
        jobs = [
            {"idempotency_key": f"{number}-{place}", "payload": {"job_type": kind, "data": {}}, "priority": priority}
            for place, (kind, priority) in enumerate(
                (("quick", "high"), ("quick", "low"), ("fails", "normal"), ("fails_for_good", "normal"))
            )
        ]
        assert (await api.post("/v1/jobs/batch", json={"jobs": jobs})).status_code == 200
        one = await api.post("/v1/jobs", json={"payload": {"job_type": "quick"}}, headers={"Idempotency-Key": f"one-{number}"})
        assert one.status_code == 201, one.text
        await api.get("/v1/jobs")
        number += 1
    left = [{"idempotency_key": f"left-{place}", "payload": {"job_type": "nobody"}, "queue": "left"} for place in range(JOBS_LEFT)]
    assert (await api.post("/v1/jobs/batch", json={"jobs": left})).status_code == 200


async def check_sums(client: httpx2.AsyncClient, api: httpx2.AsyncClient) -> None:
    """Compare sums over all processes with what the API counts."""

    async def are_right() -> bool:
        counted = (await api.get("/v1/jobs/stats")).json()["by_status"]
        sums = {
            "depth": (await total(client, "sum(job_queue_depth)"), counted["queued"]),
            "dead letters": (await total(client, 'sum(jobs{status="dlq"})'), counted["dlq"]),
            "succeeded": (await total(client, 'sum(jobs_completed_total{status="succeeded"})'), counted["succeeded"]),
            "workers": (await total(client, "sum(workers)"), 2),
            "leaders": (await total(client, "sum(reaper_is_leader)"), 1),
        }
        return counted["queued"] >= JOBS_LEFT and all(seen == right for seen, right in sums.values())

    await until(are_right, within_s=SETTLED_S_MAX, every_s=1.0)


async def total(client: httpx2.AsyncClient, expr: str) -> float:
    """One figure; -1 when there is none."""
    found = await ask(client, expr)
    return float(found[0]["value"][1]) if found else -1.0


async def ask(client: httpx2.AsyncClient, expr: str) -> list[dict[str, Any]]:
    """Ask one query."""
    answer = (await client.get("/api/v1/query", params={"query": expr})).json()
    assert answer["status"] == "success", f"{expr}: {answer}"
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


async def ask_all(client: httpx2.AsyncClient) -> int:
    """Ask every query there is, and see that Prometheus evaluates every rule; answers how many queries returned nothing."""
    empty = []
    asked = queries()
    for where, expr in asked:
        found = await ask(client, expr)
        first = f"{found[0]['value'][1]}" if found else "NOTHING"
        say(f"{len(found):4} series  {first:>24}  {where}")
        if not found:
            empty.append(where)
    groups = (await client.get("/api/v1/rules")).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    ill = [rule["name"] for rule in rules if rule["health"] != "ok"]
    firing = sorted(rule["name"] for rule in rules if rule["state"] != "inactive")
    say(
        f"{len(asked)} queries, {len(empty)} without data; {len(rules)} rules, {len(ill)} not evaluated: {ill}; pending or firing: {firing}"
    )
    return len(empty) + len(ill)


def say(line: str) -> None:
    """Write a line of the report."""
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} not found: install Debian's package prometheus, or Prometheus itself")
    sys.exit(1 if asyncio.run(run()) else 0)
