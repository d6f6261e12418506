"""Traces as a collector receives them: one tree a job over real processes; and a collector that is away or fails disturbs nothing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.whole.collector import Collector
from tests.whole.roles import Roles, until
from tests.whole.trace_picture import draw
from tests.whole.traced_job import CALLERS_SPAN, TRACE_ID, run_traced_job

pytestmark = pytest.mark.slow


async def test_one_job_over_three_processes_is_one_tree(roles: Roles) -> None:
    with Collector() as collector:
        job, spans = await run_traced_job(roles, collector)
    assert job["trace_id"] == TRACE_ID
    assert [span.name for span in spans] == ["submit_job", *["acquire_lease", "execute_job", "ack_job"] * 2]
    submit, acquire_1, execute_1, ack_1, acquire_2, execute_2, ack_2 = spans
    assert submit.parent_id == CALLERS_SPAN
    assert [acquire.parent_id for acquire in (acquire_1, acquire_2)] == [submit.span_id] * 2
    assert [execute.parent_id for execute in (execute_1, execute_2)] == [acquire_1.span_id, acquire_2.span_id]
    assert [ack.parent_id for ack in (ack_1, ack_2)] == [execute_1.span_id, execute_2.span_id]
    assert {span.service for span in spans} == {"jobqueue-api", "jobqueue-worker"}
    for span in spans:
        assert span.attributes["job_id"] == job["id"]
        assert span.attributes["tenant_id"] == "whole"
    attempts = {1: (acquire_1, execute_1, ack_1), 2: (acquire_2, execute_2, ack_2)}
    workers = {number: {span.attributes["worker_id"] for span in found} for number, found in attempts.items()}
    assert all(len(found) == 1 for found in workers.values())
    assert workers[1] != workers[2]
    assert all(span.attributes["attempt"] == number for number, found in attempts.items() for span in found)
    assert (execute_1.is_error, execute_1.attributes["error.type"], ack_1.attributes["status"]) == (True, "Retry", "failed")
    assert (execute_2.is_error, ack_2.attributes["status"]) == (False, "succeeded")
    assert all(span.begun_at <= span.ended_at for span in spans)
    assert "second_time_lucky" in (picture := draw(spans))
    assert picture.count("<rect") >= len(spans)
    check_lines(roles, job, executes=(execute_1.span_id, execute_2.span_id))


def check_lines(roles: Roles, job: dict[str, Any], *, executes: tuple[str, str]) -> None:
    """The handler's own log lines carry the ids of their job, of their worker and of their span."""
    lines = [
        json.loads(line) for log in roles.log_dir.glob("*-worker.log") for line in log.read_text().splitlines() if "handler.ran" in line
    ]
    assert len(lines) == 2
    for line, number, span_id in zip(sorted(lines, key=lambda line: line["attempt"]), (1, 2), executes, strict=True):
        expected = {"job_id": job["id"], "tenant_id": "whole", "attempt": number, "correlation_id": "order-7", "trace_id": TRACE_ID}
        assert {name: line[name] for name in expected} == expected
        assert line["span_id"] == span_id
        assert line["worker_id"]
        assert list(line)[:3] == ["timestamp", "level", "event"]


async def test_what_is_not_sampled_or_malformed_makes_no_spans_of_the_callers_trace(roles: Roles) -> None:
    with Collector() as collector:
        roles.settings.update(collector.variables, OTEL_TRACES_SAMPLER="parentbased_always_off")
        await roles.start_api()
        worker = roles.start("worker")
        async with roles.client() as client:
            jobs = []
            for number, traceparent in enumerate(
                (f"00-{TRACE_ID}-{CALLERS_SPAN}-00", "00-nonsense-01", None, f"00-{TRACE_ID}-{CALLERS_SPAN}-01")
            ):
                headers = {"Idempotency-Key": str(number), "Prefer": "wait=30", **({"traceparent": traceparent} if traceparent else {})}
                answer = await client.post("/v1/jobs", json={"payload": {"job_type": "echo"}}, headers=headers)
                assert answer.json()["status"] == "succeeded", answer.text
                jobs.append(answer.json())
        await until(lambda: _counted(collector, 4), within_s=60)
        worker.terminate()
        worker.wait(60)
    assert [job["trace_id"] for job in jobs] == [TRACE_ID, None, None, TRACE_ID]
    assert {span.attributes["job_id"] for span in collector.spans} == {jobs[3]["id"]}
    assert len(collector.spans) == 4


async def _counted(collector: Collector, number: int) -> bool:
    return len(collector.spans) >= number


async def test_collector_that_is_away_or_fails_disturbs_neither_jobs_nor_the_end(roles: Roles) -> None:
    with Collector(status=503) as collector:
        roles.settings.update(collector.variables, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
        await roles.start_api()
        roles.settings.update(collector.variables)
        roles.start("worker")
        async with roles.client() as client:
            for number in range(20):
                headers = {"Idempotency-Key": str(number), "Prefer": "wait=30"}
                answer = await client.post("/v1/jobs", json={"payload": {"job_type": "echo"}}, headers=headers)
                assert answer.json()["status"] == "succeeded", answer.text
        begun = time.monotonic()
        for process in roles.processes:
            process.terminate()
        assert [process.wait(60) for process in roles.processes] == [0, 0]
        assert time.monotonic() - begun < 30
        assert collector.requests
