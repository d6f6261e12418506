"""The pytest plugin: two fixtures, and next to no import time for projects that do not use them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from jobqueue.testing.queue import QueueServer, TestQueue


@pytest.fixture(scope="session")
def job_queue_server() -> Iterator[QueueServer]:
    """The embedded Postgres that the session's queues share."""
    from jobqueue.testing.queue import QueueServer

    with QueueServer() as server:
        yield server


@pytest.fixture
def job_queue(job_queue_server: QueueServer) -> Iterator[TestQueue]:
    """An empty queue with its API; run_all() runs its jobs."""
    with job_queue_server.queue() as queue:
        yield queue
