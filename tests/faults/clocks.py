"""Wall clocks that can be stepped, the server's and the workers': a library before the C library's clock. Linux, with a C compiler.

The run's own records are on CLOCK_BOOTTIME, which no step touches.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("clock_shim.c")
VARIABLE: Final = "FAULTS_CLOCK"


class NoShim(Exception):
    """This machine cannot build the library; the message says why."""


class WallClock:
    """One clock: an offset in seconds, and the environment that puts a process under it."""

    def __init__(self, library: Path, offset: Path) -> None:
        self._offset = offset
        self.environment: Mapping[str, str] = {"LD_PRELOAD": str(library), VARIABLE: str(offset)}
        self.step_to(0)

    def step_to(self, seconds: int) -> None:
        """Step to so many seconds from the real time, for processes that run too."""
        if not self._offset.exists():
            self._offset.write_bytes(struct.pack("<q", 0))
            self._offset.chmod(0o644)
        with self._offset.open("r+b") as file:
            file.write(struct.pack("<q", seconds))

    @contextlib.contextmanager
    def inherited(self) -> Iterator[None]:
        """What is started in the block is under this clock."""
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def build(directory: Path) -> tuple[WallClock, WallClock]:
    """Make the server's clock and the workers'. Raises NoShim."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoShim("there is no C compiler to build the clock with")
    library = directory / "clock_shim.so"
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NoShim(f"the clock does not compile: {done.stderr.strip()[-300:]}")
    library.chmod(0o755)
    return WallClock(library, directory / "server.clock"), WallClock(library, directory / "workers.clock")
