"""The embedded server's guard: `python -m jobqueue.apps.guard DIRECTORY`, started by apps/embedded_dev.py and by nobody else.

Its stdin ends when dev and all of dev's children are gone. After an orderly end there is nothing left to do. After a SIGKILL of dev the
server is still there without an owner: the guard stops it, unless a new dev has taken the directory over. Where the system has no /proc
the server stays until the next start stops it. It uses the standard library alone, so that it is small and starts at once.
"""

import fcntl
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

READ_BYTES: Final = 1024
STOP_S_MAX: Final = 20.0
POLL_S: Final = 0.05


def main() -> None:
    """Wait for the end of the others, then tidy up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # only the end of all the others ends it
    while os.read(0, READ_BYTES):
        pass
    stop_leftover(Path(sys.argv[1]))


def stop_leftover(directory: Path) -> None:
    """End the server of a directory that nobody owns (its layout: apps/embedded.py), while holding its lock."""
    lock = os.open(directory / "lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        pid = int((directory / "cluster" / "postmaster.pid").read_text().split("\n", 1)[0])
        if works_in(pid, directory / "cluster"):
            os.kill(pid, signal.SIGINT)
            _wait_until_gone(pid, directory / "cluster")
    except (OSError, ValueError):
        return  # owned anew, stopped already, or not ours
    finally:
        os.close(lock)


def works_in(pid: int, cluster: Path) -> bool:
    """Tell whether the process lives and its working directory is the cluster's, as Postgres' is."""
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")) == cluster
    except OSError:
        return False


def _wait_until_gone(pid: int, cluster: Path) -> None:
    deadline_s = time.monotonic() + STOP_S_MAX
    while works_in(pid, cluster) and time.monotonic() < deadline_s:
        time.sleep(POLL_S)


if __name__ == "__main__":
    main()
