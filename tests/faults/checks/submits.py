"""What clients were told, against what there is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from tests.faults.findings import Finding
from tests.faults.history import History

FINAL: Final = {"succeeded", "dlq", "cancelled", "expired"}
HONEST_REFUSALS: Final = {408, 409, 422, 429, 503}
"""What a submit may be refused with while things break; 408 by a process that was stopped for longer than a body may take to come."""


def _key(data: dict[str, Any]) -> tuple[int, str]:
    return data["tenant"], data["key"]


def lost(history: History) -> Iterator[Finding]:
    """An acknowledged job that is not there."""
    for call in history.calls("submit"):
        if call.end is not None and call.kind == "ok" and call.end.data["job"] not in history.rows:
            yield Finding("lost", f"job {call.end.data['job']} was acknowledged under key {call.invoke.data['key']} and is gone")


def stuck(history: History) -> Iterator[Finding]:
    """A job that has not ended although everything was given the time to."""
    if history.params.is_drained:
        for row in history.rows.values():
            if row.status not in FINAL:
                yield Finding("stuck", f"job {row.job} ({row.job_type}) is still {row.status} after the drain")


def phantom(history: History) -> Iterator[Finding]:
    """A run of a job nobody submitted."""
    calls = history.calls("submit")
    asked = {_key(call.invoke.data) for call in calls}
    known = {call.end.data["job"] for call in calls if call.end is not None and call.kind == "ok"}
    for start in history.notes("start"):
        row = history.rows.get(start.data["job"])
        if row is None:
            if start.data["job"] not in known:  # else it is lost
                yield Finding("phantom", f"job {start.data['job']} ran, and neither a row nor an answer names it")
        elif (row.tenant, row.key) not in asked:
            yield Finding("phantom", f"job {row.job} ran, and nobody asked for key {row.key}")


def duplicate_submission(history: History) -> Iterator[Finding]:
    """Two jobs under one key, in answers or in rows."""
    ids: dict[tuple[int, str], set[str]] = defaultdict(set)
    for call in history.calls("submit"):
        if call.end is not None and call.kind == "ok":
            ids[_key(call.invoke.data)].add(call.end.data["job"])
    for row in history.rows.values():
        if row.key is not None:
            ids[row.tenant, row.key].add(row.job)
    for key, jobs in ids.items():
        if len(jobs) > 1:
            yield Finding("duplicate_submission", f"key {key} names {len(jobs)} jobs: {', '.join(sorted(jobs))}")


def conflict_accepted(history: History) -> Iterator[Finding]:
    """Two bodies taken under one key, or another one stored than was acknowledged."""
    taken: dict[tuple[int, str], set[str]] = defaultdict(set)
    for call in history.calls("submit"):
        if call.end is not None and call.kind == "ok":
            taken[_key(call.invoke.data)].add(call.invoke.data["body"])
            row = history.rows.get(call.end.data["job"])
            if row is not None and row.body != call.invoke.data["body"]:
                yield Finding("conflict_accepted", f"key {row.key}: body {call.invoke.data['body']} acknowledged, {row.body} stored")
    for key, bodies in taken.items():
        if len(bodies) > 1:
            yield Finding("conflict_accepted", f"key {key}: bodies {', '.join(sorted(bodies))} were both taken")


def conflict_wrongly_told(history: History) -> Iterator[Finding]:
    """A key called reused although no other body was ever sent under it."""
    calls = history.calls("submit")
    bodies: dict[tuple[int, str], set[str]] = defaultdict(set)
    for call in calls:
        bodies[_key(call.invoke.data)].add(call.invoke.data["body"])
    for call in calls:
        if call.end is not None and call.end.data.get("code") == 422 and len(bodies[_key(call.invoke.data)]) == 1:
            yield Finding("conflict_wrongly_told", f"key {call.invoke.data['key']} had one body only and was refused as reused")


def wrong_answer(history: History) -> Iterator[Finding]:
    """An answer that no fault excuses, such as 500."""
    for verb in ("submit", "cancel", "read"):
        for call in history.calls(verb):
            code = None if call.end is None else call.end.data.get("code")
            if isinstance(code, int) and code >= 300 and code not in HONEST_REFUSALS:
                yield Finding("wrong_answer", f"{verb} of {call.invoke.data.get('key') or call.invoke.data.get('job')} was answered {code}")
