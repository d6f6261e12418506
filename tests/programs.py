"""Run `jobqueue` as its users do: as a process of its own, spoken to over HTTP with the standard library."""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

PROGRAM: Final = (sys.executable, "-P", "-m", "jobqueue.cli.main")
READY: Final = re.compile(r"ready url=(?P<url>http://127\.0\.0\.1:\d+) tenant=demo api_key=(?P<api_key>jq_\w+)\n")
START_S_MAX: Final = 60.0
CALL_S_MAX: Final = 30.0
POLL_S: Final = 0.05
OURS: Final = (
    "JOBQUEUE_",
    "DATABASE_URL",
    "API_SECRET_KEY",
    "RATE_LIMIT_",
    "JOB_LEASE",
    "MAX_CONCURRENT",
    "POLL_INTERVAL",
    "WORKER_QUEUES",
)


def environment(**settings: str) -> dict[str, str]:
    """Take our environment without the product's settings, and add the given ones."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith(OURS)}, **settings}


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([*PROGRAM, *arguments], env=environment(**settings), capture_output=True, text=True, timeout=60, check=False)


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory that other accounts may pass through, unlike pytest's: as root, Postgres runs as one of them."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-test-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@dataclass
class Answer:
    """What the service said."""

    status: int
    body: Any


class Dev:
    """A `jobqueue dev` that is up."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        """Wait for the ready line."""
        self.process = process
        self.log = log
        line = _read_line(process, log)
        found = READY.fullmatch(line)
        assert found, f"not the ready line: {line!r}\n{log.read_text()}"
        self.url, self.api_key = found["url"], found["api_key"]
        self.port = int(self.url.rpartition(":")[2])

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Make one request with the demo key."""
        sent = {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json", **(headers or {})}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, headers=sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=CALL_S_MAX) as answer:
                return Answer(answer.status, _read(answer.read()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, _read(error.read()))

    def submit(self, job_type: str, data: Mapping[str, Any], *, key: str, **fields: Any) -> str:
        """Submit a job; answers its id."""
        body = {"payload": {"job_type": job_type, "data": data}, **fields}
        answer = self.call("POST", "/v1/jobs", body, {"Idempotency-Key": key})
        assert answer.status in (200, 201), answer
        return str(answer.body["id"])

    def wait_for(self, job_id: str, *statuses: str, within_s: float = 60) -> dict[str, Any]:
        """Read the job until it is in one of the statuses."""
        deadline = time.monotonic() + within_s
        while True:
            job: dict[str, Any] = self.call("GET", f"/v1/jobs/{job_id}").body
            if job["status"] in statuses:
                return job
            assert time.monotonic() < deadline, f"still {job['status']}\n{self.log.read_text()[-4000:]}"
            time.sleep(POLL_S)

    def is_ready(self) -> bool:
        """Tell whether the API answers that it is ready."""
        try:
            return self.call("GET", "/healthz/ready").status == 200
        except OSError:
            return False

    def children(self) -> dict[str, list[int]]:
        """Tell the process ids of the roles."""
        return children_of(self.process.pid)

    def stop(self, sign: signal.Signals = signal.SIGTERM, *, within_s: float = 10) -> int:
        """Ask it to end; answers its exit code."""
        self.process.send_signal(sign)
        return self.process.wait(timeout=within_s)


@contextlib.contextmanager
def running_dev(directory: Path, *flags: str, port: int = 0, **settings: str) -> Iterator[Dev]:
    """Run `jobqueue dev` while the block runs; whatever happened in it, nothing of it is left."""
    log = directory / "dev.log"
    arguments = [*PROGRAM, "dev", "--port", str(port), "--data-dir", str(directory / ".jobqueue"), *flags]
    with log.open("a") as stderr:
        process = subprocess.Popen(arguments, env=environment(**settings), stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=directory)
    try:
        yield Dev(process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=15)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def children_of(parent: int) -> dict[str, list[int]]:
    """Tell the roles that run as children of a process of ours, with their process ids; none when it is gone."""
    found: dict[str, list[int]] = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(parent).children():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                words = child.cmdline()  # whole, which `ps` is not: without a terminal it may cut a line at 80 columns
                if "--child" in words:
                    found.setdefault(words[words.index("--child") - 1], []).append(child.pid)
    return found


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not collected by its parent does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until(holds: Callable[[], object], *, within_s: float) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(POLL_S)


def processes_of(directory: Path) -> list[str]:
    """List the living processes whose command line or working directory names the directory, or that hold it in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = os.readlink(process / "cwd")
            if command and (str(directory) in command or place.startswith(str(directory))):
                found.append(f"{process.name} {command}")
    return found


def wait_until_none(directory: Path, *, within_s: float) -> list[str]:
    """Wait until no process of the directory is left; answers those that are, after that time."""
    deadline = time.monotonic() + within_s
    while (left := processes_of(directory)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return left


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


def _read_line(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_S_MAX)
    assert readable, f"nothing on stdout within {START_S_MAX} s\n{log.read_text()}"
    return process.stdout.readline()
