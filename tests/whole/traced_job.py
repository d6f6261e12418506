"""One job over three processes: taken in by the API, failed by a worker on the database, done by a worker over HTTP."""

from __future__ import annotations

from typing import Any

from tests.whole.collector import Collector, Span
from tests.whole.roles import Roles, until

SPANS = 7
"""submit_job, and for each of two attempts acquire_lease, execute_job, ack_job."""
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLERS_SPAN = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{CALLERS_SPAN}-01"
SHOWN_S_MAX = 60.0


async def run_traced_job(roles: Roles, collector: Collector, *, traceparent: str = TRACEPARENT) -> tuple[dict[str, Any], list[Span]]:
    """Run it, and answer the job as it ended with the spans received of its trace."""
    roles.settings.update(collector.variables, JOBQUEUE_HANDLERS="tests.whole.traced_handlers", JOBQUEUE_LOG_FORMAT="json")
    await roles.start_api()
    async with roles.client() as client:
        body = {"payload": {"job_type": "second_time_lucky"}}
        headers = {"Idempotency-Key": "traced", "traceparent": traceparent, "X-Correlation-Id": "order-7"}
        answer = await client.post("/v1/jobs", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        path = f"/v1/jobs/{answer.json()['id']}"

        async def is_now(status: str) -> dict[str, Any] | None:
            job: dict[str, Any] = (await client.get(path)).json()
            return job if job["status"] == status else None

        on_database = roles.start("worker")
        await until(lambda: is_now("failed"), within_s=SHOWN_S_MAX)
        on_database.terminate()
        on_database.wait(SHOWN_S_MAX)
        roles.settings.update(JOBQUEUE_DATABASE_URL="", DATABASE_URL="", JOBQUEUE_URL=roles.url, JOBQUEUE_API_KEY=roles.api_key)
        roles.start("worker")
        assert (await client.post(f"{path}/retry", json={"reset_attempts": False})).status_code == 200
        job = await until(lambda: is_now("succeeded"), within_s=SHOWN_S_MAX)

    async def are_all_there() -> list[Span] | None:
        spans = collector.trace(job["trace_id"])
        return spans if len(spans) >= SPANS else None

    return job, await until(are_all_there, within_s=SHOWN_S_MAX)
