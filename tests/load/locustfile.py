"""Load on a running service, by three kinds of users, judged at the end.

    JOBQUEUE_API_KEY=jq_... locust -f tests/load/locustfile.py --host http://127.0.0.1:8000          # then http://localhost:8089
    JOBQUEUE_API_KEY=jq_... locust -f tests/load/locustfile.py --host ... --headless -u 50 -r 10 -t 60s [JobSchedulerUser ...]

JobSchedulerUser submits, looks, lists and cancels as an application does. BurstSubmissionUser is quiet, then sends twenty at once and fifty
in a batch. IdempotencyTestUser sends the same key again and at the same time, and another body under it. Each refusal for rate is waited
out as it says; it is counted, and is no failure. After the last user has stopped, the jobs are waited for and held against what was
acknowledged (ledger.py); the report (report.py) goes to LOAD_REPORT_DIR (build/load). The end is 1 when a job doubled or vanished, or a
call failed.

The load must come from one locust process: the book is in its memory.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import gevent
import requests
from gevent.pool import Pool
from locust import FastHttpUser, between, constant_pacing, events, task
from locust.env import Environment

from tests.load.ledger import Ledger, judge
from tests.load.report import Sample, write_report

API_KEY = os.environ.get("JOBQUEUE_API_KEY", "")
REPORT_DIR = Path(os.environ.get("LOAD_REPORT_DIR", "build/load"))
ENDED_S_MAX = float(os.environ.get("LOAD_ENDED_SECONDS_MAX", "180"))
SAMPLE_S = 1.0
DELAY_S = 20
"""Of jobs that are to be cancelled; a user who is stopped before that leaves one that runs after it."""
PRIORITIES = ("critical", "high", "normal", "low")
LEDGER = Ledger(f"load-{int(time.time())}-{random.randrange(1_000_000):06d}")
SAMPLES: list[Sample] = []
HEADERS = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}


class Caller(FastHttpUser):
    """What all users have in common: the key, and that a refusal for rate is waited out."""

    abstract = True

    def call(self, method: str, path: str, name: str, *, expect: tuple[int, ...] = (200,), body: Any = None, key: str | None = None) -> Any:
        """Ask, through refusals for rate; answers the JSON, None when it failed (which is counted) or the test ends."""
        headers = HEADERS | ({"Idempotency-Key": key} if key else {})
        while True:
            with self.client.request(
                method, path, name=name, headers=headers, data=None if body is None else json.dumps(body), catch_response=True
            ) as answer:
                if answer.status_code in (429, 503):
                    LEDGER.refused[str(answer.status_code)] += 1
                    answer.success()
                    wait_s = float(answer.headers.get("Retry-After", "1"))
                elif answer.status_code in expect:
                    answer.success()
                    return answer.json()
                else:
                    answer.failure(f"{answer.status_code} {str(answer.text)[:200]}")
                    return None
            gevent.sleep(wait_s)

    def submit(self, name: str, *, key: str | None = None, **fields: Any) -> dict[str, Any] | None:
        """Submit a job, write down what was acknowledged."""
        key = key or LEDGER.new_key()
        job = self.call("POST", "/v1/jobs", name, expect=(200, 201), body=new_job(**fields), key=key)
        if job is not None:
            LEDGER.answered(key, job["id"])
        return job


def new_job(duration_s: float | None = None, **fields: Any) -> dict[str, Any]:
    """A job of this run: `echo`, or `sleep` where it is to take a while."""
    payload = {"job_type": "echo", "data": {"message": "load"}} if duration_s is None else sleep_of(duration_s)
    return {"payload": payload, "tags": [LEDGER.run], **fields}


def sleep_of(duration_s: float) -> dict[str, Any]:
    return {"job_type": "sleep", "data": {"duration": round(duration_s, 3)}}


class JobSchedulerUser(Caller):
    """An application: submits jobs one by one, looks how they are, lists, and sometimes thinks better of one."""

    weight = 6
    wait_time = between(0.2, 1.0)

    def on_start(self) -> None:
        self.mine: list[str] = []

    @task(8)
    def submit_one(self) -> None:
        duration_s = random.choice((None, None, None, random.uniform(0.01, 0.3)))
        job = self.submit("POST /v1/jobs", duration_s=duration_s, priority=random.choice(PRIORITIES))
        if job:
            self.mine = [*self.mine[-19:], job["id"]]

    @task(5)
    def look(self) -> None:
        if self.mine:
            self.call("GET", f"/v1/jobs/{random.choice(self.mine)}", "GET /v1/jobs/{id}")

    @task(2)
    def look_at_history(self) -> None:
        if self.mine:
            self.call("GET", f"/v1/jobs/{random.choice(self.mine)}/events", "GET /v1/jobs/{id}/events")

    @task(1)
    def list_jobs(self) -> None:
        self.call("GET", f"/v1/jobs?status={random.choice(('queued', 'running', 'succeeded'))}&page_size=50", "GET /v1/jobs")

    @task(1)
    def schedule_and_cancel(self) -> None:
        job = self.submit("POST /v1/jobs (delayed)", delay_seconds=DELAY_S)
        if job:
            self.call("POST", f"/v1/jobs/{job['id']}/cancel", "POST /v1/jobs/{id}/cancel")


class BurstSubmissionUser(Caller):
    """Quiet for a while, then all at once: twenty single jobs at the same time, and a batch of fifty."""

    weight = 2
    wait_time = constant_pacing(8)
    burst: ClassVar[int] = 20
    batch: ClassVar[int] = 50

    @task
    def burst_of_jobs(self) -> None:
        pool = Pool(self.burst)
        pool.map(lambda _: self.submit("POST /v1/jobs (burst)"), range(self.burst))

    @task
    def batch_of_jobs(self) -> None:
        keys = [LEDGER.new_key() for _ in range(self.batch)]
        body = {"jobs": [{"idempotency_key": key, **new_job()} for key in keys]}
        answer = self.call("POST", "/v1/jobs/batch", "POST /v1/jobs/batch", body=body)
        for key, result in zip(keys, answer["results"] if answer else (), strict=False):
            LEDGER.answered(key, result["id"])


class IdempotencyTestUser(Caller):
    """The same key twice in turn, five times at once, and with another body, which must be refused."""

    weight = 2
    wait_time = between(1.0, 3.0)
    at_once: ClassVar[int] = 5

    @task(2)
    def again(self) -> None:
        key = LEDGER.new_key()
        for _ in range(2):
            self.submit("POST /v1/jobs (same key again)", key=key)

    @task(2)
    def at_the_same_time(self) -> None:
        key = LEDGER.new_key()
        pool = Pool(self.at_once)
        pool.map(lambda _: self.submit_or_conflict(key), range(self.at_once))

    def submit_or_conflict(self, key: str) -> None:
        """409 says that a twin is still under way; then the next answer brings its id."""
        while True:
            job = self.call("POST", "/v1/jobs", "POST /v1/jobs (same key at once)", expect=(200, 201, 409), body=new_job(), key=key)
            if job is None or "id" in job:
                break
            gevent.sleep(0.2)
        if job:
            LEDGER.answered(key, job["id"])

    @task(1)
    def another_body(self) -> None:
        key = LEDGER.new_key()
        if self.submit("POST /v1/jobs (first body)", key=key):
            refusal = self.call("POST", "/v1/jobs", "POST /v1/jobs (another body)", expect=(422,), body=new_job(duration_s=0.01), key=key)
            if refusal is not None and refusal.get("code") != "idempotency_key_reused":
                raise AssertionError(f"another body under a key was refused as {refusal.get('code')}")


# ------------------------------------------------------------------------------------------- around the whole test


@events.test_start.add_listener
def start_sampling(environment: Environment, **_: Any) -> None:
    """Write down every second how things are, until the end check is over."""
    if not API_KEY:
        raise SystemExit("JOBQUEUE_API_KEY is not set: jobqueue keys create --tenant NAME")
    gevent.spawn(sample_for_ever, environment)


def sample_for_ever(environment: Environment) -> None:
    start_s = time.monotonic()
    while True:
        statuses = ask(environment, "/v1/jobs/stats")
        total = environment.stats.total
        SAMPLES.append(
            Sample(
                at_s=time.monotonic() - start_s,
                users=environment.runner.user_count if environment.runner else 0,
                requests=total.num_requests,
                failures=total.num_failures,
                p50_ms=total.get_current_response_time_percentile(0.5) or 0,
                p95_ms=total.get_current_response_time_percentile(0.95) or 0,
                by_status=statuses["by_status"] if statuses else {},
            )
        )
        gevent.sleep(SAMPLE_S)


@events.test_stop.add_listener
def check_the_end(environment: Environment, **_: Any) -> None:
    """Wait for the jobs, judge, write the report."""
    environment.process_exit_code = 1  # also when something below raises, which locust only logs
    end_s = time.monotonic() + ENDED_S_MAX
    jobs = all_jobs(environment, end_s)
    while any(job["finished_at"] is None for job in jobs) and time.monotonic() < end_s:
        gevent.sleep(1)
        jobs = all_jobs(environment, end_s)
    verdict = judge(LEDGER, jobs)
    report = write_report(REPORT_DIR, LEDGER, verdict, SAMPLES, environment.stats)
    refused = ", ".join(f"{count} times {code}" for code, count in sorted(LEDGER.refused.items())) or "none"
    sys.stdout.write(f"\n{verdict.tell()}\nrefused and waited out: {refused}\nreport: {report}\n\n")
    if not verdict.faults and not environment.stats.total.num_failures:
        environment.process_exit_code = 0


def all_jobs(environment: Environment, end_s: float) -> list[dict[str, Any]]:
    """Every job of this run, over all pages; outside of the statistics. Raises TimeoutError."""
    jobs: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = ask(environment, f"/v1/jobs?tag={LEDGER.run}&page_size=200{cursor}")
        if page is not None:
            jobs += page["items"]
            if not page["has_more"]:
                return jobs
            cursor = f"&cursor={page['next_cursor']}"
        elif time.monotonic() > end_s:
            raise TimeoutError("the jobs could not be listed at the end")
        else:
            gevent.sleep(1)


def ask(environment: Environment, path: str) -> Any:
    """Ask beside the users; None when there is no answer, or one that says later."""
    try:
        answer = requests.get(f"{environment.host}{path}", headers=HEADERS, timeout=30)
    except requests.RequestException:
        return None
    return answer.json() if answer.ok else None
