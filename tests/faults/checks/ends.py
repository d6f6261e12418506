"""How jobs ended: buried for a reason, succeeded by a run that really ended so, cancelled for good."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.faults.checks.places import moves
from tests.faults.findings import Finding
from tests.faults.history import Call, History


def wrong_dlq(history: History) -> Iterator[Finding]:
    """A job buried with attempts and crashes to spare, whose handler had not asked for it."""
    discarded = {op.data["token"] for op in history.notes("end") if op.data["how"] == "discard"}
    for job, changes in history.by_job().items():
        for move in moves(job, changes):
            if not move.left or not move.entered or move.entered[0].table != "ended" or move.entered[0].detail != "dlq":
                continue
            left, entered = move.left[0], move.entered[0]
            is_used_up = entered.attempt >= entered.attempts_max or entered.crashes >= history.params.crashes_max
            if not is_used_up and left.token not in discarded:
                what = f"attempt {entered.attempt} of {entered.attempts_max}, {entered.crashes} of {history.params.crashes_max} crashes"
                yield Finding("wrong_dlq", f"job {job} was buried with {what}")


def effect(history: History) -> Iterator[Finding]:
    """A success without a run that ended well under its token, or with the result of another run."""
    ended = {op.data["run"]: op for op in history.notes("end") if op.data["how"] == "ok"}
    runs: dict[str, set[str]] = defaultdict(set)
    for run, op in ended.items():
        runs[op.data["token"]].add(run)
    for row in history.rows.values():
        if row.status != "succeeded" or row.token is None:
            continue
        if not runs[row.token]:
            yield Finding("effect", f"job {row.job} succeeded under token {row.token}, and no run ended well under it")
        elif row.run is not None and row.run not in runs[row.token]:
            yield Finding("effect", f"job {row.job} has the result of run {row.run}, which had another token")


def cancel_broken(history: History) -> Iterator[Finding]:
    """A cancelled job that started afterwards, or that ended otherwise than a cancel allows."""
    starts: dict[str, int] = {}
    for op in history.notes("start"):
        starts[op.data["job"]] = op.at_ns
    for call in history.calls("cancel"):
        if call.end is not None and call.kind == "ok":
            yield from _broken_cancel(history, call, starts)


def died(history: History) -> Iterator[Finding]:
    """A process of the product that ended by itself: nothing may need somebody to start it again."""
    for op in history.notes("died"):
        yield Finding("died", f"{op.data['target']} ended by itself with {op.data['code']}")


def damaged(history: History) -> Iterator[Finding]:
    """Damage in the database's files, as Postgres' own programs see it."""
    for op in history.notes("verified"):
        if op.data["code"]:
            yield Finding("damaged", f"{op.data['program']} ended with {op.data['code']}: {op.data['said']}")


def _broken_cancel(history: History, call: Call, starts: dict[str, int]) -> Iterator[Finding]:
    assert call.end is not None
    job, code = call.invoke.data["job"], call.end.data["code"]
    row = history.rows.get(job)
    if row is None:
        return
    if code == 200 and row.status != "cancelled":
        yield Finding("cancel_broken", f"job {job} was cancelled at once and ended {row.status}")
    if code == 202 and history.params.is_drained and row.status not in ("cancelled", "succeeded"):
        yield Finding("cancel_broken", f"job {job} was asked to cancel and ended {row.status}")
    if code == 200 and starts.get(job, 0) > call.end.at_ns:
        yield Finding("cancel_broken", f"job {job} started after it was cancelled")
