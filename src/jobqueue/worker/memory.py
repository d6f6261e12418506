"""How much memory an isolated run may have.

The bound is on data (RLIMIT_DATA): what a process writes to, its children not counted. Address space is not bounded, since runtimes
reserve much more of it than they use. When the machine itself runs short, the kernel takes an isolated run before the worker beside it.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

MIB: Final = 1024**2
SHARE: Final = 0.5
"""Of the machine's or the container's memory, for a run nobody set a bound for: its worker and a neighbour live beside it."""

CGROUP_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
OOM_SCORE: Final = "1000"
"""The first to go; anybody may raise his own."""


def limit_bytes(memory_mib: int | None, default: int | None) -> int:
    """Choose the bound: the handler's, else the worker's, else a share of what there is."""
    if memory_mib is not None:
        return memory_mib * MIB
    return default_bytes() if default is None else default


@cache
def default_bytes() -> int:
    """Say what a run may have if nobody set a bound."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # there is none, or it says `max`
            total = min(total, int(Path(name).read_text()))
    return int(total * SHARE)


def bound(limit: int) -> None:
    """Bound this process for good, and offer it to the kernel as the first to end when memory runs out."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
