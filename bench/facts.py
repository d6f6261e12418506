"""What a figure was taken on: without it, it says nothing."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from bench.process import ROOT
from bench.server import OPTIONS

PACKAGES = ("asyncpg", "pgqueuer", "uvloop", "uvicorn")


def gather(postgres: str) -> dict[str, object]:
    """Describe machine, versions and commit. postgres: the server's version."""
    return {
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "load_before": round(os.getloadavg()[0], 2),
        },
        "versions": {"postgres": postgres, "python": platform.python_version()} | {package: version(package) for package in PACKAGES},
        "postgres_options": dict(OPTIONS),
        "commit": _commit(),
    }


def _cpu() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _commit() -> str:
    said = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=ROOT, capture_output=True, text=True, check=False)
    return said.stdout.strip() or "none"
