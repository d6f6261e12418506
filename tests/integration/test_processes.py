"""`jobqueue worker --processes N`: restarted, stopped together, never orphaned."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests import programs
from tests.programs import children_of, is_alive, wait_until

pytestmark = pytest.mark.slow
PATIENCE_S = 60.0
PROCESSES = 2


@pytest.fixture
def parent(database: str) -> Iterator[subprocess.Popen[bytes]]:
    settings = programs.environment(DATABASE_URL=database, JOBQUEUE_METRICS_PORT="0", JOBQUEUE_SHUTDOWN_GRACE_SECONDS="1")
    arguments = [*programs.PROGRAM, "worker", "--processes", str(PROCESSES)]
    with subprocess.Popen(arguments, env=settings, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: len(workers(process)) == PROCESSES, within_s=PATIENCE_S)
        yield process
        process.kill()


def workers(parent: subprocess.Popen[bytes]) -> list[int]:
    return children_of(parent.pid).get("worker", [])


def test_killed_process_is_replaced_and_sigterm_ends_all(parent: subprocess.Popen[bytes]) -> None:
    killed, kept = workers(parent)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(now := workers(parent)) == PROCESSES and killed not in now, within_s=PATIENCE_S)
    assert kept in workers(parent)
    last = workers(parent)
    parent.terminate()
    assert parent.wait(timeout=PATIENCE_S) == 0
    assert not any(is_alive(pid) for pid in last)


def test_no_process_outlives_a_killed_parent(parent: subprocess.Popen[bytes]) -> None:
    orphans = workers(parent)
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in orphans), within_s=PATIENCE_S)
