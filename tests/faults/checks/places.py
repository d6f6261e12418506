"""Each job's way through the tables: one place at a time, attempts and crashes counted as promised, nothing before its time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from tests.faults.checks.writes import REAPER
from tests.faults.findings import Finding
from tests.faults.history import Change, History

PLACES: Final = {"ready", "parked", "scheduled", "blocked", "lease", "ended"}
OUT_OF_BAND: Final = {"jobqueue-api", "tests"}
"""Verbs of people (retry, PATCH, cancel) set attempts and times by hand."""


@dataclass(slots=True)
class Move:
    """What one transaction did to one job."""

    job: str
    by: str
    left: list[Change] = field(default_factory=list)
    entered: list[Change] = field(default_factory=list)
    outcome: str | None = None
    is_new: bool = False


def moves(job: str, changes: list[Change]) -> Iterator[Move]:
    """The job's moves in order, without mere renewals of its lease."""
    for _, group in groupby(changes, key=lambda change: change.xid):
        move = Move(job, "")
        for change in group:
            move.by = change.by
            if change.table == "job" and change.op == "I":
                move.is_new = True
            elif change.table == "outcome" and change.op == "I":
                move.outcome = change.detail
            elif change.table in PLACES and change.op == "D":
                move.left.append(change)
            elif change.table in PLACES and change.op == "I":
                move.entered.append(change)
        if move.is_new or move.left or move.entered:
            yield move


def misplaced(history: History) -> Iterator[Finding]:
    """A job that stood in two places, in none, or left one it was not in."""
    for job, changes in history.by_job().items():
        place: str | None = None
        is_known = False
        for move in moves(job, changes):
            left = [change.table for change in move.left]
            entered = [change.table for change in move.entered]
            if move.is_new:
                is_known = True
            elif is_known and left != ([] if place is None else [place]):
                yield Finding("misplaced", f"job {job} left {left or 'nothing'} while it stood in {place}")
            if len(entered) > 1:
                yield Finding("misplaced", f"job {job} came to {entered} at once")
            if not entered and move.outcome != "succeeded":
                yield Finding("misplaced", f"job {job} left {left} for nowhere")
            place = entered[0] if entered else None


def attempts(history: History) -> Iterator[Finding]:
    """An attempt beyond the limit, one not counted at the claim, or one given back that was to be counted."""
    for job, changes in history.by_job().items():
        for move in moves(job, changes):
            if not move.left or not move.entered or move.by in OUT_OF_BAND:
                continue
            left, entered = move.left[0], move.entered[0]
            if entered.table == "lease":
                if entered.attempt != left.attempt + 1:
                    yield Finding("attempts", f"job {job}: attempt {left.attempt} became {entered.attempt} at a claim")
                if entered.attempt > entered.attempts_max:
                    yield Finding("attempts", f"job {job}: attempt {entered.attempt} of {entered.attempts_max}")
            elif left.table == "lease" and entered.attempt != left.attempt and not _may_refund(move, left, entered):
                yield Finding("attempts", f"job {job}: attempt {left.attempt} became {entered.attempt} on the way to {entered.table}")


def _may_refund(move: Move, left: Change, entered: Change) -> bool:
    if entered.attempt != left.attempt - 1:
        return False
    if move.by == REAPER:
        return left.detail != "started"
    return entered.table == "ready" or entered.detail == "snooze"


def crashes(history: History) -> Iterator[Finding]:
    """A lost lease whose crash was not counted, or counted although it had not started."""
    for job, changes in history.by_job().items():
        for move in moves(job, changes):
            if move.by == REAPER and move.left and move.entered and move.left[0].table == "lease":
                left, entered = move.left[0], move.entered[0]
                if entered.detail == "cancelled":
                    continue
                due = left.crashes + 1 if left.detail == "started" else max(left.crashes, 1)
                if entered.crashes != due:
                    yield Finding("crashes", f"job {job}: {entered.crashes} crashes after a lost lease, {due} expected")


def early_start(history: History) -> Iterator[Finding]:
    """A scheduled job that moved on before it was due, by the database's own clock."""
    if history.params.steps_clock:
        return
    for change in history.changes:
        if change.table == "scheduled" and change.op == "D" and change.by not in OUT_OF_BAND and change.at_ns < change.until_ns:
            yield Finding("early_start", f"job {change.job} moved on {(change.until_ns - change.at_ns) / 1e6:.1f} ms before it was due")
