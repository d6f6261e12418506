"""The command line on a real queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jobqueue.cli.main import run
from jobqueue.testing import TestQueue


class Terminal:
    """Runs commands in this process and keeps what they said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = ""
        self.err = ""

    def run(self, *arguments: str) -> int:
        """Run one command; answers its exit code."""
        code = run(arguments)
        self.out, self.err = self._capsys.readouterr()
        return code

    def ok(self, *arguments: str) -> str:
        """Run one command that must not fail; answers what it printed."""
        assert self.run(*arguments) == 0, self.err
        assert self.err == ""
        return self.out

    def fails(self, code: int, *arguments: str) -> str:
        """Run one command that must fail; answers its one line."""
        assert self.run(*arguments) == code, (self.out, self.err)
        assert self.err.startswith("jobqueue: ")
        assert self.err.count("\n") == 1
        return self.err


@pytest.fixture
def terminal(job_queue: TestQueue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """A terminal whose environment names the test's queue."""
    monkeypatch.setenv("JOBQUEUE_URL", job_queue.url)
    monkeypatch.setenv("JOBQUEUE_API_KEY", job_queue.api_key)
    return Terminal(capsys)


@contextmanager
def working(job_queue: TestQueue) -> Iterator[None]:
    """Run jobs as they come while the block runs."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            job_queue.run_all()
            stop.wait(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
