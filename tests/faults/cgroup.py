"""Control groups with little memory, so that the kernel kills what eats too much of it. Linux with version 1 of control groups, as root."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CGROUP: Final = "JOBQUEUE_FAULTS_CGROUP"
"""Names the group a worker enters at its start; what it starts is in it too."""
ROOT: Final = Path("/sys/fs/cgroup/memory")
REMOVE_S_MAX: Final = 5.0


class NoControlGroups(Exception):
    """This machine does not allow it; the message says why."""


@contextlib.contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """Have a group with so much memory while the block runs. Raises NoControlGroups."""
    group = ROOT / f"jobqueue-faults-{secrets.token_hex(3)}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
    except OSError as error:
        raise NoControlGroups(f"control groups need root and their version 1 mounted: {error}") from error
    try:
        yield group
    finally:
        until = time.monotonic() + REMOVE_S_MAX
        while group.exists() and time.monotonic() < until:
            with contextlib.suppress(OSError):  # its last processes are going
                group.rmdir()
            time.sleep(0.05)


def enter_group() -> None:
    """Go where the run wants this process to be."""
    if (group := os.environ.get(CGROUP)) is not None:
        (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
