"""Counts: running per tenant, and every job in one place in each snapshot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.faults.checks.runs import Window, windows
from tests.faults.findings import Finding
from tests.faults.history import History


def tenant_limit(history: History) -> Iterator[Finding]:
    """More leases of a tenant than it may have, as counted by the database at a claim."""
    caps = {int(tenant): cap for tenant, cap in history.params.tenant_caps.items()}
    for change in history.changes:
        cap = caps.get(change.tenant, 0)
        if change.table == "lease" and change.op == "I" and cap and change.running > cap:
            yield Finding(
                "tenant_limit", f"tenant {change.tenant}: {change.running} leases at the claim of job {change.job}, {cap} allowed"
            )


def tenant_limit_seen(history: History) -> Iterator[Finding]:
    """More runs of a tenant at once than it may have, as seen by the handlers, inside valid windows."""
    caps = {int(tenant): cap for tenant, cap in history.params.tenant_caps.items()}
    running: dict[int, list[Window]] = defaultdict(list)
    over: set[int] = set()
    for window in windows(history):
        row = history.rows.get(window.job)
        if row is None or not caps.get(row.tenant, 0) or window.valid_until_ns <= window.start_ns:
            continue
        beside = [run for run in running[row.tenant] if run.valid_until_ns > window.start_ns]
        running[row.tenant] = [*beside, window]
        if len(beside) >= caps[row.tenant] and row.tenant not in over:
            over.add(row.tenant)
            runs = "; ".join(f"{run.process} job {run.job} from {run.start_ns} to {run.valid_until_ns}" for run in running[row.tenant])
            said = f"tenant {row.tenant}: {len(beside) + 1} handlers at once, {caps[row.tenant]} allowed: {runs}"
            yield Finding("tenant_limit_seen", said)


def conservation(history: History) -> Iterator[Finding]:
    """A snapshot in which the places do not add up to the jobs."""
    for op in history.notes("snapshot"):
        if op.data["jobs"] != op.data["placed"]:
            yield Finding("conservation", f"{op.data['jobs']} jobs, {op.data['placed']} places in the snapshot at {op.at_ns}")
