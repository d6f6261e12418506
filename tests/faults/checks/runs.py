"""Runs of handlers, and the windows in which their worker could trust its lease.

A run may be alive when the next one starts: its worker was stopped, or cut off, and cannot know. That is what "at least once" allows.
What must not happen is an overlap inside both windows: from the start to the end, but no longer than a lease length after the worker last
asked (claimed, or sent a beat that was answered ok), no longer than it held on to it (sent a settle), and, of a job that ended cancelled,
no longer than the grace after somebody first asked for that: then the reaper fences it off, lease or not.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.findings import Finding
from tests.faults.history import History

NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class Window:
    """One run. trusted_until_ns: how long its lease could be trusted; until_ns: the same, but only until its holder sent a settle, or a
    cancel's grace was over; end_ns: when the handler ended, as far as it said so.
    """

    job: str
    tenant: str
    token: str
    run: str
    process: str
    start_ns: int
    end_ns: int | None
    until_ns: int
    trusted_until_ns: int

    @property
    def valid_until_ns(self) -> int:
        """When the run stopped being one that counts."""
        return self.until_ns if self.end_ns is None else min(self.end_ns, self.until_ns)


def windows(history: History) -> list[Window]:
    """Every run that started, with its window, in order of start. A run whose lease no worker recorded has an empty one."""
    lease_ns = round(history.params.lease_s * NS_PER_S)
    trusted = {token: asked_ns + lease_ns for token, asked_ns in _last_asked(history).items()}
    until = dict(trusted)
    for call in history.calls("settle"):
        for _, token, _ in call.invoke.data["items"]:
            until[token] = min(until.get(token, call.invoke.at_ns), call.invoke.at_ns)
    fenced = _fenced(history)
    ends = {op.data["run"]: op.at_ns for op in history.notes("end")}
    return [
        Window(
            start.data["job"],
            start.data["tenant"],
            start.data["token"],
            start.data["run"],
            start.process,
            start.at_ns,
            ends.get(start.data["run"]),
            min(until.get(start.data["token"], start.at_ns), fenced.get(start.data["job"], sys.maxsize)),
            trusted.get(start.data["token"], start.at_ns),
        )
        for start in history.notes("start")
    ]


def _fenced(history: History) -> dict[str, int]:
    """By job that ended cancelled: from when the reaper may have fenced its run off."""
    grace_ns = round(history.params.cancel_grace_s * NS_PER_S)
    found: dict[str, int] = {}
    for call in history.calls("cancel"):
        job = call.invoke.data["job"]
        row = history.rows.get(job)
        if row is not None and row.status == "cancelled":
            found.setdefault(job, call.invoke.at_ns + grace_ns)
    return found


def _last_asked(history: History) -> dict[str, int]:
    """By token: when the holder last sent what proved its lease."""
    found: dict[str, int] = {}
    for call in history.calls("claim"):
        if call.end is not None and call.kind == "ok":
            for _, token, *_ in call.end.data["leases"]:
                found[token] = call.invoke.at_ns
    for call in history.calls("beat"):
        if call.end is not None and call.kind == "ok":
            for (_, token), status in zip(call.invoke.data["items"], call.end.data["answers"], strict=True):
                if status in ("ok", "cancel_requested") and token in found:
                    found[token] = max(found[token], call.invoke.at_ns)
    return found


def overlap(history: History) -> Iterator[Finding]:
    """Two runs of a job inside their valid windows."""
    for job, runs in _by_job(history).items():
        last = runs[0]
        for run in runs[1:]:
            if run.start_ns < last.valid_until_ns and run.start_ns < run.valid_until_ns:
                over_ms = (last.valid_until_ns - run.start_ns) / 1e6
                yield Finding("overlap", f"job {job}: {run.process} started {over_ms:.1f} ms before {last.process} had to stop")
            if run.valid_until_ns > last.valid_until_ns:
                last = run


def overlaps_outside_lease(history: History) -> int:
    """Count the runs that started while an older one went on, lease or not: allowed, and worth knowing."""
    count = 0
    for runs in _by_job(history).values():
        last_end_ns = 0
        for run in runs:
            count += run.start_ns < last_end_ns
            last_end_ns = max(last_end_ns, run.end_ns or 0)
    return count


def run_without_lease(history: History) -> Iterator[Finding]:
    """A handler started under a token the database never gave for that job."""
    given = {(change.job, change.token) for change in history.changes if change.table == "lease" and change.op == "I"}
    for start in history.notes("start"):
        if (start.data["job"], start.data["token"]) not in given:
            yield Finding(
                "run_without_lease", f"{start.process} ran job {start.data['job']} under token {start.data['token']}, never given"
            )


def _by_job(history: History) -> dict[str, list[Window]]:
    found: dict[str, list[Window]] = defaultdict(list)
    for window in windows(history):
        found[window.job].append(window)
    return found
