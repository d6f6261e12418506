"""A durable job queue on PostgreSQL with an HTTP door.

The public names are found on first use, so that importing one of them does not import the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobqueue.worker.handler import Discard, Retry, Snooze
    from jobqueue.worker.registry import job

_HOMES = {
    "Discard": "jobqueue.worker.handler",
    "Retry": "jobqueue.worker.handler",
    "Snooze": "jobqueue.worker.handler",
    "job": "jobqueue.worker.registry",
}

__all__ = ["Discard", "Retry", "Snooze", "job"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
