"""The processes of one run: started, killed, stopped, started again, each under a name that records can be matched by.

A slot is a place in the deployment (`worker-3`); each life in it has a generation (`worker-3.2`). A process that ends although nobody
meant it to is an anomaly (`died`), unless it was still starting while its database was away: a start may fail and be tried again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults.record import DIRECTORY, NAME, Recorder

ROOT: Final = Path(__file__).parents[2]
START_GRACE_S: Final = 180.0
"""Until a reaper is this old its end with 1 is a failed start, not a death: the database was away. The others show when they are up."""
STOP_S_MAX: Final = 20.0
RESTART_S: Final = (0.0, 2.0)
"""How long after its end a process is started again."""
PR_SET_PDEATHSIG: Final = 1
PORTS: Final = (12_000, 20_000)
BASE: Final[Mapping[str, str]] = {
    "JOBQUEUE_API_SECRET_KEY": "only-for-tests-" + "0" * 32,
    "JOBQUEUE_METRICS_PORT": "0",
    "JOBQUEUE_LOG_LEVEL": "warning",
    "JOBQUEUE_LEASE_SECONDS": "5",
    "JOBQUEUE_MAX_ATTEMPTS": "20",
    "JOBQUEUE_MAX_CRASHES": "20",
    "JOBQUEUE_RETRY_BASE_SECONDS": "0.2",
    "JOBQUEUE_RETRY_MAX_SECONDS": "2",
    "JOBQUEUE_POLL_INTERVAL": "0.5",
    "JOBQUEUE_CANCEL_GRACE_SECONDS": "2",
    "JOBQUEUE_SHUTDOWN_GRACE_SECONDS": "2",
    "JOBQUEUE_TENANT_MAX_CONCURRENT": "0",
    "JOBQUEUE_RATE_LIMIT_REQUESTS_PER_MINUTE": "1000000",
    "JOBQUEUE_WORKER_CONCURRENCY": "8",
    "JOBQUEUE_HANDLERS": "tests.faults.handlers",
}
PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "worker": ("-m", "tests.faults.worker"),
    "reaper": ("-P", "-m", "jobqueue.cli.main", "reaper"),
    "api": ("-P", "-m", "jobqueue.cli.main", "api"),
}


def end_with_the_run() -> None:
    """Have the kernel kill this process when the run is gone, however it went; also one that is stopped."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def quiet_port(taken: Collection[int] = ()) -> int:
    """A free port below the range that clients' own ends get: a dead server's port then stays its own. Not by the seed: runs may meet.

    taken: those given out before, which nobody listens on yet.
    """
    while True:
        port = random.SystemRandom().randrange(*PORTS)
        if port in taken:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Slot:
    """One place, and who lives in it."""

    role: str
    name: str
    arguments: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    generation: int = 0
    born_at: float = 0.0
    has_answered: bool = False
    is_expected_to_end: bool = False
    starts_at: float | None = None

    @property
    def target(self) -> str:
        """The present life, as its own records name it."""
        assert self.process is not None
        return f"{self.name}.{self.generation}#{self.process.pid}"

    @property
    def is_alive(self) -> bool:
        """Whether a process lives here."""
        return self.process is not None and self.process.poll() is None


class Deployment:
    """All slots of a run."""

    def __init__(self, directory: Path, recorder: Recorder, settings: Mapping[str, str]) -> None:
        self.directory = directory
        self.recorder = recorder
        self.settings = {**BASE, **settings}
        self._chance = random.Random(0)
        self.slots: list[Slot] = []
        self.failed_starts = 0

    def add(self, role: str, *, dsn: str, prefix: tuple[str, ...] = (), **settings: str) -> None:
        """Make one more slot of a role; nothing starts yet."""
        arguments = ("--port", str(quiet_port([int(slot.arguments[1]) for slot in self.of("api")]))) if role == "api" else ()
        name = f"{role}-{len(self.of(role)) + 1}"
        self.slots.append(Slot(role, name, arguments, {"JOBQUEUE_DATABASE_URL": dsn, **settings}, prefix))

    def of(self, role: str) -> list[Slot]:
        """The slots of a role."""
        return [slot for slot in self.slots if slot.role == role]

    @property
    def urls(self) -> list[str]:
        """Where the API processes listen."""
        return [f"http://127.0.0.1:{slot.arguments[1]}" for slot in self.of("api")]

    def start(self, slot: Slot) -> None:
        """Begin a new life in a slot."""
        assert not slot.is_alive
        slot.generation += 1
        name = f"{slot.name}.{slot.generation}"
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("JOBQUEUE_", "OTEL_"))},
            **self.settings,
            **slot.settings,
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            DIRECTORY: str(self.directory),
            NAME: name,
        }
        with (self.directory / f"{name}.log").open("ab") as log:
            slot.process = subprocess.Popen(
                [*slot.prefix, sys.executable, *PROGRAMS[slot.role], *slot.arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                preexec_fn=end_with_the_run,
            )
        slot.born_at = time.monotonic()
        slot.has_answered = False
        slot.is_expected_to_end = False
        slot.starts_at = None

    def start_all(self) -> None:
        """Start what does not live."""
        for slot in self.slots:
            if not slot.is_alive:
                self.start(slot)

    def signal(self, slot: Slot, sign: signal.Signals, *, ends: bool = False) -> None:
        """Send a signal, if somebody lives there. ends: the process is meant to end by it."""
        if slot.is_alive:
            assert slot.process is not None
            slot.is_expected_to_end = slot.is_expected_to_end or ends
            slot.process.send_signal(sign)

    def kill(self, slot: Slot, what: str) -> None:
        """SIGKILL, and write it down."""
        if slot.is_alive:
            assert slot.process is not None
            self.recorder.note("nemesis", what=what, target=slot.target)
            self.signal(slot, signal.SIGKILL, ends=True)
            slot.process.wait()

    def revive(self, *, may_end_with: Collection[int] = ()) -> None:
        """Look for ended processes, write down those that were not meant to end, start each again after a while."""
        for slot in self.slots:
            if slot.process is None or slot.is_alive:
                continue
            if slot.starts_at is None:
                code = slot.process.returncode
                if code in may_end_with:
                    self.recorder.note("ended", target=slot.target, code=code)
                elif not slot.is_expected_to_end:
                    self._died(slot, code)
                slot.starts_at = time.monotonic() + self._chance.uniform(*RESTART_S)
            elif time.monotonic() >= slot.starts_at:
                self.start(slot)

    def _died(self, slot: Slot, code: int) -> None:
        if code == 1 and not self._was_up(slot):
            self.failed_starts += 1
            self.recorder.note("start_failed", target=slot.target)
        else:
            self.recorder.note("died", target=slot.target, code=code)

    def _was_up(self, slot: Slot) -> bool:
        if slot.role == "worker":
            records = self.directory / f"{slot.target}.jsonl"
            return records.exists() and records.stat().st_size > 0
        if slot.role == "api":
            return slot.has_answered
        return time.monotonic() - slot.born_at >= START_GRACE_S

    def answered(self, url: str, asked_at: float) -> None:
        """The API at this address has answered what it was asked then (monotonic); an answer of the life before does not count."""
        for slot in self.of("api"):
            if url.endswith(f":{slot.arguments[1]}") and asked_at > slot.born_at:
                slot.has_answered = True

    def stop(self) -> None:
        """End all, gently first."""
        for slot in self.slots:
            self.signal(slot, signal.SIGCONT)
            self.signal(slot, signal.SIGTERM, ends=True)
        deadline = time.monotonic() + STOP_S_MAX
        for slot in self.slots:
            if slot.process is None:
                continue
            try:
                slot.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.recorder.note("late", target=slot.target)
                slot.process.kill()
                slot.process.wait()
