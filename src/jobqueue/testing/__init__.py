"""Test your handlers, and the code that submits their jobs, on a real queue.

`pip install 'jobqueue[server]'` brings a pytest fixture, `job_queue`: a database and an API of its own for each test, and a worker that
runs when the test says so. No server to install, no network but 127.0.0.1; the first test of a session takes some two seconds more.

    def test_order_is_shipped(job_queue):
        job = job_queue.submit("ship_order", {"order": 7})
        [ran] = job_queue.run_all()
        assert (ran.status, ran.result) == ("succeeded", {"shipped": 7})
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobqueue.apps.trial import Ran, StillRunning
    from jobqueue.testing.queue import QueueServer, TestQueue

_HOMES = {
    "QueueServer": "jobqueue.testing.queue",
    "Ran": "jobqueue.apps.trial",
    "StillRunning": "jobqueue.apps.trial",
    "TestQueue": "jobqueue.testing.queue",
}

__all__ = ["QueueServer", "Ran", "StillRunning", "TestQueue"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
