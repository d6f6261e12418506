"""Counts: running per tenant, and every job in one place in each snapshot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.faults.checks.runs import windows
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
    steps: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for window in windows(history):
        row = history.rows.get(window.job)
        if row is not None and caps.get(row.tenant, 0) and window.valid_until_ns > window.start_ns:
            steps[row.tenant] += [(window.start_ns, 1), (window.valid_until_ns, -1)]
    for tenant, changes in steps.items():
        running = most = 0
        for _, step in sorted(changes):  # an end at the same moment comes first
            running += step
            most = max(most, running)
        if most > caps[tenant]:
            yield Finding("tenant_limit_seen", f"tenant {tenant}: {most} handlers at once, {caps[tenant]} allowed")


def conservation(history: History) -> Iterator[Finding]:
    """A snapshot in which the places do not add up to the jobs."""
    for op in history.notes("snapshot"):
        if op.data["jobs"] != op.data["placed"]:
            yield Finding("conservation", f"{op.data['jobs']} jobs, {op.data['placed']} places in the snapshot at {op.at_ns}")
