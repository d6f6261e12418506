"""CPU seconds of processes, from the kernel's own count: unlike wall time they hardly change while others use the machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
USER, CHILDREN_USER = 11, 13
"""Where in /proc/PID/stat, counted after the name: a process's own ticks in user and system mode, then those of its ended children."""


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that the processes have used; one that has ended has used none."""
    return sum(_ticks(pid, USER) for pid in pids) / TICKS_PER_S


def server_cpu_s(postmaster: int) -> float:
    """CPU seconds of a whole Postgres server: all it runs and all that has ended under it."""
    return (_ticks(postmaster, CHILDREN_USER) + sum(_ticks(pid, USER) for pid in [postmaster, *children(postmaster)])) / TICKS_PER_S


def children(pid: int) -> list[int]:
    """The processes that one has started and that live."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _ticks(pid: int, first: int) -> int:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[first]) + int(fields[first + 1])
    return 0
