"""The worker protocol as calls: introduce, claim, heartbeat, settle. For `worker/backends/http.py`; a program wants `jobqueue.Worker`.

Answers are left as JSON: a job a worker gets is looked at once, and shapes made of it would cost more than running it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from jobqueue.client.call import Call, as_json, as_model, encode, path_of
from jobqueue.protocol.work import CLAIM_JOBS_MAX, OUTCOMES_MAX, WorkerTerms

__all__ = ["CLAIM_JOBS_MAX", "claim", "cut", "heartbeat", "introduce", "settle"]

SETTLE_BYTES_MAX: Final = 12 * 1024 * 1024
"""Of the 16 MiB a settle may have: one more outcome always fits."""


def introduce(worker_id: str, *, queues: Sequence[str], job_types: Sequence[str], concurrency: int, version: str) -> Call[WorkerTerms]:
    """Make the worker known."""
    body = encode({"queues": queues, "job_types": job_types, "concurrency": concurrency, "version": version})
    return Call("PUT", path_of("v1", "workers", worker_id), as_model(WorkerTerms), body=body)


def claim(
    worker_id: str,
    *,
    claim_id: UUID,
    queues: Sequence[str],
    job_types: Sequence[str],
    jobs_max: int,
    wait_s: float,
    lease_s: float | None,
) -> Call[Any]:
    """Lease jobs, within wait_s. jobs_max 0 only asks what the claim still holds."""
    body = encode(
        {
            "worker_id": worker_id,
            "claim_id": claim_id,
            "queues": queues,
            "job_types": job_types,
            "max_jobs": jobs_max,
            "wait_seconds": wait_s,
            "lease_seconds": lease_s,
        }
    )
    return Call("POST", "/v1/leases", as_json, body=body, wait_s=wait_s)


def heartbeat(worker_id: str, *, state: str, beats: Sequence[Mapping[str, Any]]) -> Call[Any]:
    """Say that the worker lives, and renew leases."""
    body = encode({"state": state, "leases": beats})
    return Call("POST", path_of("v1", "workers", worker_id, "heartbeat"), as_json, body=body)


def settle(outcomes: Sequence[bytes]) -> Call[Any]:
    """Report how runs ended, each encoded by itself."""
    return Call("POST", "/v1/leases/settle", as_json, body=b'{"outcomes":[' + b",".join(outcomes) + b"]}")


def cut(outcomes: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Cut outcomes into settles that fit, in order."""
    parts: list[Sequence[bytes]] = []
    begin = size = 0
    for place, outcome in enumerate(outcomes):
        if place > begin and (size + len(outcome) > SETTLE_BYTES_MAX or place - begin >= OUTCOMES_MAX):
            parts.append(outcomes[begin:place])
            begin, size = place, 0
        size += len(outcome) + 1
    parts.append(outcomes[begin:])
    return parts
