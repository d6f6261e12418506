"""The verdict of a load test: it lets a good run through and names each thing that can be wrong."""

import ast
from pathlib import Path
from typing import Any

import pytest

from tests.load.ledger import Ledger, judge


def job(key: str, job_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": job_id, "idempotency_key": key, "status": "succeeded", "attempt": 1, "finished_at": "2026-01-01T00:00:00Z", **fields}


@pytest.fixture
def ledger() -> Ledger:
    """Two keys with their jobs, and a third one that was never answered."""
    book = Ledger("run")
    for number in (1, 2):
        book.answered(book.new_key(), f"job-{number}")
    book.new_key()
    return book


GOOD = [job("run-1", "job-1"), job("run-2", "job-2", status="cancelled")]


@pytest.mark.parametrize("jobs", [GOOD, [*GOOD, job("run-3", "job-3")]], ids=["unanswered not stored", "unanswered stored"])
def test_each_acknowledged_job_there_once_is_good(ledger: Ledger, jobs: list[dict[str, Any]]) -> None:
    verdict = judge(ledger, jobs)
    assert verdict.faults == []
    assert "none doubled, none vanished" in verdict.tell()


@pytest.mark.parametrize(
    ("jobs", "fault"),
    [
        (GOOD[:1], "acknowledged and vanished: 1: job-2"),
        ([*GOOD, job("run-1", "job-9")], "a key with several jobs in the list: 1: run-1"),
        ([*GOOD, GOOD[0]], "a job listed several times: 1: job-1"),
        ([*GOOD, job("other-1", "job-9")], "there without having been sent: 1: other-1"),
        ([GOOD[0], job("run-3", "job-2")], "under another key than acknowledged: 1: job-2"),
        ([GOOD[0], job("run-2", "job-2", status="running", finished_at=None)], "not ended: 1: job-2"),
        ([GOOD[0], job("run-2", "job-2", status="dlq")], "ended badly: 1: job-2 dlq"),
        ([GOOD[0], job("run-2", "job-2", attempt=2)], "ran more than once: 1: job-2"),
    ],
    ids=["vanished", "doubled", "listed twice", "stranger", "misfiled", "unfinished", "buried", "ran twice"],
)
def test_what_is_wrong_is_named(ledger: Ledger, jobs: list[dict[str, Any]], fault: str) -> None:
    verdict = judge(ledger, jobs)
    assert fault in verdict.faults
    assert "WRONG" in verdict.tell()


def test_a_key_that_was_answered_with_two_ids_is_named(ledger: Ledger) -> None:
    ledger.answered("run-1", "job-2")
    assert "a key with several jobs: 1: run-1" in judge(ledger, GOOD).faults


def test_locustfile_has_the_three_kinds_of_users() -> None:
    tree = ast.parse((Path(__file__).parent / "locustfile.py").read_text())
    users = {node.name for node in tree.body if isinstance(node, ast.ClassDef) and ast.unparse(node.bases[0]) == "Caller"}
    assert users == {"JobSchedulerUser", "BurstSubmissionUser", "IdempotencyTestUser"}
