"""jobs, dlq, queues, top and bench, over a real API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobqueue.testing import TestQueue
from tests.integration.cli.conftest import Terminal, working

pytestmark = [pytest.mark.database, pytest.mark.slow]


def submitted(terminal: Terminal, *arguments: str) -> str:
    """Submit a job; answers its id."""
    return str(json.loads(terminal.ok("jobs", "submit", *arguments, "--json"))["id"])


def test_submitted_job_is_listed_and_shown(terminal: Terminal, job_queue: TestQueue) -> None:
    line = terminal.ok("jobs", "submit", "echo", "n=3", "name=[bold]ann", "--queue", "q", "--tag", "a", "--key", "k-1")
    job_id, status = line.split()
    assert status == "queued"
    assert "submitted before under this key" in terminal.ok(
        "jobs", "submit", "echo", "n=3", "name=[bold]ann", "--queue", "q", "--tag", "a", "--key", "k-1"
    )
    assert job_id in terminal.ok("jobs", "list", "--queue", "q")
    assert terminal.ok("jobs", "list", "--queue", "other") == "no jobs\n"
    job_queue.run_all()
    shown = terminal.ok("jobs", "get", job_id, "--events")
    assert "succeeded" in shown
    assert '"name": "[bold]ann"' in shown  # no markup of ours
    assert [line.split()[1] for line in shown.partition("history:\n")[2].splitlines()] == [
        "job.submitted", "job.leased", "job.started", "job.succeeded",
    ]  # fmt: skip
    told = json.loads(terminal.ok("jobs", "get", job_id, "--json"))
    assert (told["id"], told["result"]) == (job_id, {"n": 3, "name": "[bold]ann"})


def test_waiting_prints_the_result_and_nothing_else(terminal: Terminal, job_queue: TestQueue, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"a": 1, "b": 2}')
    with working(job_queue):
        out = terminal.ok("jobs", "submit", "echo", "b=3", "--data-file", str(tmp_path / "data.json"), "--wait")
    assert json.loads(out) == {"a": 1, "b": 3}


def test_waiting_for_a_job_that_fails_ends_with_1_and_says_why(terminal: Terminal, job_queue: TestQueue) -> None:
    with working(job_queue):
        line = terminal.fails(1, "jobs", "submit", "sleep", "duration=0", "fail_simulation=true", "--max-attempts", "1", "--wait")
    assert "is dlq: SimulatedFailure: failed after 0 s, as asked" in line
    line = terminal.fails(1, "jobs", "submit", "nobody-takes-it", "--wait", "--wait-timeout", "0.1")
    assert "it goes on: `jobqueue jobs watch" in line


def test_watching_a_job_tells_its_events_until_it_ends(terminal: Terminal, job_queue: TestQueue) -> None:
    job_id = submitted(terminal, "echo")
    with working(job_queue):
        out = terminal.ok("jobs", "watch", job_id, "--json")
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["job.submitted", "job.leased", "job.started", "job.succeeded"]


def test_jobs_are_cancelled_by_id_and_by_filter(terminal: Terminal) -> None:
    first = submitted(terminal, "echo", "--queue", "a")
    for _ in range(2):
        submitted(terminal, "echo", "--queue", "b")
    assert terminal.ok("jobs", "cancel", first) == f"{first}  cancelled\n"
    assert "this would cancel 2 jobs; say --yes" in terminal.fails(2, "jobs", "cancel", "--queue", "b")
    assert terminal.ok("jobs", "cancel", "--queue", "b", "--yes") == "2 cancelled, or asked to stop\n"
    assert len(json.loads(terminal.ok("jobs", "list", "--status", "cancelled", "--json"))) == 3
    assert "no such job" in terminal.fails(1, "jobs", "cancel", first, "01a00000-0000-7000-8000-000000000000")


def test_a_file_is_imported_and_again_adds_nothing(terminal: Terminal, job_queue: TestQueue, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("name,age\n" + "".join(f"person-{number},{number}\n" for number in range(700)))
    arguments = ["jobs", "import", str(file), "--type", "echo", "--queue", "people", "--key-column", "name"]
    assert terminal.ok(*arguments) == "700 created, 0 there already, 0 conflicts, 0 invalid\n"
    assert json.loads(terminal.ok(*arguments, "--json")) == {"created": 0, "replayed": 700, "conflicts": 0, "invalid": 0, "errors": []}
    with file.open("a") as more:
        more.write("person-700,1\n")
    assert terminal.ok(*arguments) == "1 created, 700 there already, 0 conflicts, 0 invalid\n"
    with file.open("a") as more:
        more.write("person-3,999\nperson-701\n")
    line = terminal.fails(1, *arguments)
    assert "2 rows were left out: line 703: " in line
    assert terminal.out == "0 created, 701 there already, 1 conflicts, 1 invalid\n"
    lines = tmp_path / "rows"
    lines.write_text('{"a": 1}\n{"a": 2}\n')
    assert terminal.ok("jobs", "import", str(lines), "--type", "echo", "--format", "ndjson").startswith("2 created")
    assert job_queue.client.queue_stats("people").queues["people"].ready == 701
    assert "cannot read" in terminal.fails(2, "jobs", "import", str(tmp_path), "--type", "echo", "--format", "csv")


def test_dead_letters_are_listed_and_replayed(terminal: Terminal, job_queue: TestQueue) -> None:
    assert terminal.ok("dlq", "list") == "the dead letter queue is empty\n"
    ids = [submitted(terminal, "sleep", "--data", '{"duration": "x"}') for _ in range(3)]
    job_queue.run_all()
    listed = terminal.ok("dlq", "list")
    assert all(job_id in listed for job_id in ids)
    assert "ArgumentError: argument 'duration'" in listed
    assert terminal.ok("dlq", "replay", "--all", "--dry-run") == "3 jobs would be replayed\n"
    assert terminal.ok("dlq", "replay", ids[0]) == f"{ids[0]}  queued\n"
    assert json.loads(terminal.ok("dlq", "replay", "--type", "sleep", "--yes", "--json")) == {"count": 2}
    job_queue.run_all()
    assert json.loads(terminal.ok("jobs", "retry", ids[1], "--json"))[0]["status"] == "queued"
    assert "queued" in terminal.fails(1, "jobs", "retry", ids[1])


def test_queues_are_listed_paused_and_resumed(terminal: Terminal) -> None:
    assert terminal.ok("queues", "list").startswith("no queues yet")
    submitted(terminal, "echo", "--queue", "mails")
    assert terminal.ok("queues", "pause", "mails") == "mails is paused\n"
    [queue] = json.loads(terminal.ok("queues", "list", "--json"))
    assert (queue["name"], queue["paused"], queue["ready"]) == ("mails", True, 1)
    assert "paused" in terminal.ok("queues", "list").splitlines()[-1]
    assert terminal.ok("queues", "resume", "mails") == "mails goes on\n"


def test_top_without_a_terminal_is_one_picture(terminal: Terminal, job_queue: TestQueue) -> None:
    submitted(terminal, "echo", "--queue", "mails")
    submitted(terminal, "sleep", "--queue", "other")
    job_queue.client.pause_queue("mails")
    job_queue.run_all()
    shown = terminal.ok("top")
    assert "mails paused" in shown
    assert "ArgumentError" in shown
    told = json.loads(terminal.ok("top", "--json"))
    assert (told["by_status"]["queued"], told["by_status"]["dlq"], told["paused"]) == (1, 1, ["mails"])
    assert told["failing"][0]["job_type"] == "sleep"


@pytest.mark.parametrize(("batch", "shape"), [("1", "burst"), ("7", "steady")])
def test_bench_submits_waits_and_tells(terminal: Terminal, job_queue: TestQueue, tmp_path: Path, batch: str, shape: str) -> None:
    file = tmp_path / "figures.json"
    with working(job_queue):
        arguments = ["--jobs", "20", "--clients", "4", "--batch", batch, "--shape", shape, "--rate", "100"]
        shown = terminal.ok("bench", *arguments, "--json", str(file), "--give-up", "60s")
    figures: dict[str, Any] = json.loads(file.read_text())
    assert (figures["submitted"], figures["by_status"], figures["is_complete"]) == (20, {"succeeded": 20}, True)
    assert figures["seconds"]["total"]["max"] >= figures["seconds"]["wait"]["p50"] > 0
    assert "became  20 succeeded" in shown


def test_bench_without_a_worker_gives_up_and_says_so(terminal: Terminal) -> None:
    assert "is there a worker for 'nosuch'?" in terminal.fails(1, "bench", "--jobs", "2", "--type", "nosuch", "--give-up", "0.3s")


def test_what_the_service_refuses_is_one_line_that_says_what_to_change(terminal: Terminal) -> None:
    refusals: list[tuple[list[str], int, str]] = [
        (["jobs", "get", "nonsense"], 1, "there is no such job"),
        (["jobs", "get", "01a00000-0000-7000-8000-000000000000"], 1, "there is no such job"),
        (["jobs", "submit", "a b"], 2, "job_type: "),
        (["jobs", "submit", "echo", "--max-attempts", "0"], 2, "max_attempts: "),
        (["jobs", "list", "--api-key", "jq_wrong"], 2, "does not know this key: check JOBQUEUE_API_KEY"),
        (["queues", "pause", "a b"], 1, "there is no such queue"),
    ]
    for arguments, code, said in refusals:
        assert said in terminal.fails(code, *arguments)
