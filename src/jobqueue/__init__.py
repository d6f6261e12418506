"""A durable job queue on PostgreSQL with an HTTP door.

The public names are found on first use, so that importing one of them does not import the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobqueue.apps.program_worker import Worker
    from jobqueue.client.async_client import AsyncClient
    from jobqueue.client.async_handle import AsyncJobHandle
    from jobqueue.client.blocking_client import Client
    from jobqueue.client.handle import JobHandle
    from jobqueue.client.new_job import NewJob
    from jobqueue.domain.errors import JobQueueError
    from jobqueue.worker.handler import Discard, Retry, Snooze
    from jobqueue.worker.registry import job

_HOMES = {
    "AsyncClient": "jobqueue.client.async_client",
    "AsyncJobHandle": "jobqueue.client.async_handle",
    "Client": "jobqueue.client.blocking_client",
    "Discard": "jobqueue.worker.handler",
    "JobHandle": "jobqueue.client.handle",
    "JobQueueError": "jobqueue.domain.errors",
    "NewJob": "jobqueue.client.new_job",
    "Retry": "jobqueue.worker.handler",
    "Snooze": "jobqueue.worker.handler",
    "Worker": "jobqueue.apps.program_worker",
    "job": "jobqueue.worker.registry",
}

__all__ = ["AsyncClient", "AsyncJobHandle", "Client", "Discard", "JobHandle", "JobQueueError", "NewJob", "Retry", "Snooze", "Worker", "job"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
