"""The server-side functions, in the order they are installed: a later one may call an earlier one.

A function is never changed once released: a new version gets a new name and a migration of its own, so old and new programs run side
by side.
"""

from __future__ import annotations

from typing import Final

from jobqueue.store.statements import source

FUNCTIONS: Final = (
    "ids_v1",
    "partitions_v1",
    "status_v1",
    "active_lanes_v1",
    "unpark_v1",
    "sweep_keys_v1",
    "claim_v1",
    "settle_v1",
    "submit_v1",
    "caller_submit_v1",
    "receive_v1",
    "heartbeat_v1",
    "cancel_v1",
    "retry_v1",
    "patch_v1",
    "force_success_v1",
    "set_queue_v1",
    "read_jobs_v1",
    "oldest_ready_v1",
    "oldest_due_v1",
    "draw_rate_v1",
    "raise_wall_v1",
    "lost_v1",
    "promote_v1",
    "expire_v1",
    "fold_tally_v1",
    "drop_week_v1",
    "jobs_view_v1",
    "audit_v1",
)


def function_source(name: str) -> str:
    """Read the CREATE statements of one function."""
    assert name in FUNCTIONS
    return source(f"functions/{name}")
