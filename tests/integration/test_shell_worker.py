"""The shell worker of docs/worker_in_another_language.md works: it claims, tells progress, completes, fails, and hears of a cancel."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobqueue import JobHandle
from jobqueue.testing import QueueServer, TestQueue
from tests.programs import wait_until

PAGE = Path(__file__).parents[2] / "docs/worker_in_another_language.md"
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL))
PATIENT = """#!/bin/sh
echo '40 half "way"' >&3
while [ ! -e "$1" ]; do sleep 0.1; done
printf '{"seen": %s}' "$(sed -n 's/.*"data":{"n":\\([0-9]*\\)}.*/\\1/p')"
"""
WAIT_S = 30.0
pytestmark = [
    pytest.mark.database,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here"),
]


@pytest.fixture
def queue(job_queue_server: QueueServer) -> Iterator[TestQueue]:
    """A queue whose heartbeats are due every second."""
    with job_queue_server.queue(JOBQUEUE_LEASE_SECONDS="5") as queue:
        yield queue


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the page's files are."""
    for name, text in {**FILES, "patient.sh": PATIENT}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@contextmanager
def working(queue: TestQueue, directory: Path, job_type: str, *command: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the page's worker with nothing but what a Debian has."""
    worker = subprocess.Popen(
        ["sh", "worker.sh", job_type, "sh", *command],
        cwd=directory,
        env={"PATH": "/usr/bin:/bin", "JOBQUEUE_URL": queue.url, "JOBQUEUE_API_KEY": queue.api_key},
        text=True,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield worker
    finally:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
        _, said = worker.communicate()
    assert said == ""


def history(job: JobHandle) -> list[str]:
    return [event.type for event in job.events()]


def test_worker_claims_completes_fails_and_ends_when_told(queue: TestQueue, directory: Path) -> None:
    counted = queue.submit("word_count", {"text": "to be or not to be"})
    refused = queue.submit("word_count", {"text": ""})
    with working(queue, directory, "word_count", "word_count.sh") as worker:
        assert counted.result(timeout=WAIT_S) == {"words": 6}
        error = refused.wait(timeout=WAIT_S).error
        assert error is not None
        assert (refused.job.status, error.type, error.message) == ("dlq", "Exit65", "the data has no text")
        worker.send_signal(signal.SIGTERM)
        last = queue.submit("word_count", {"text": "ends its wait for a job"})
        assert worker.wait(WAIT_S) == 0
    assert last.result(timeout=WAIT_S) == {"words": 6}
    assert history(counted) == ["job.submitted", "job.leased", "job.started", "job.succeeded"]


def test_worker_tells_progress_and_is_told_of_a_cancel(queue: TestQueue, directory: Path) -> None:
    go_on = directory / "go-on"
    first, second = queue.submit("patient", {"n": 7}), queue.submit("patient", {"n": 8})
    with working(queue, directory, "patient", "patient.sh", str(go_on)):
        wait_until(lambda: first.get().progress == 40, within_s=WAIT_S)
        assert (first.job.status, first.job.progress_message) == ("running", 'half "way"')
        assert first.cancel().status == "running"  # asked, not done
        assert first.wait(timeout=WAIT_S).status == "cancelled"
        go_on.touch()
        assert second.result(timeout=WAIT_S) == {"seen": 8}
    assert history(first) == ["job.submitted", "job.leased", "job.started", "job.cancel_requested", "job.cancelled"]


def test_result_that_is_no_json_fails_its_job_and_not_the_worker(queue: TestQueue, directory: Path) -> None:
    (directory / "chatty.sh").write_text("echo 'not \"JSON\"'; echo 'one\ttwo\\three' >&2")
    job = queue.submit("chatty")
    with working(queue, directory, "chatty", "chatty.sh") as worker:
        error = job.wait(timeout=WAIT_S).error
        assert error is not None
        assert error.message.startswith("the result is refused: ")
        assert worker.poll() is None
