"""A disk whose power can be cut: ext4 on a loop device, shut down by an ioctl that drops all that was not flushed. Linux, as root.

Not simulated: a disk that says "flushed" and lies. `kill -9` proves nothing here, since the page cache survives it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

EXT4_IOC_SHUTDOWN: Final = 0x8004587D
WITHOUT_FLUSHING_THE_LOG: Final = 2
IMAGE_BYTES: Final = 3 << 30
"""Sparse: only what is written takes room."""
FILLER_BYTES: Final = 1 << 20
UNMOUNT_TRIES: Final = 100


class NoPowerToCut(Exception):
    """This machine does not allow it; the message says why."""


class Disk:
    """A mounted file system of our own."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "disk"
        self._filler = self.path / "filler"
        self._image = directory / "disk.img"

    @classmethod
    @contextlib.contextmanager
    def mounted(cls, directory: Path, *, size: int = IMAGE_BYTES) -> Iterator[Disk]:
        """Have the disk while the block runs. Raises NoPowerToCut."""
        why = why_not()
        if why is not None:
            raise NoPowerToCut(why)
        disk = cls(directory)
        disk.path.mkdir()
        with disk._image.open("wb") as image:
            image.truncate(size)
        _run("mkfs.ext4", "-qF", str(disk._image))
        disk._mount()
        try:
            yield disk
        finally:
            try:
                disk._unmount()
            except NoPowerToCut:  # somebody still holds a file there; it goes when he does
                subprocess.run(["umount", "--lazy", str(disk.path)], check=False, capture_output=True)

    def cut(self) -> None:
        """Cut the power: from here on nothing reaches the disk, and what had not been flushed is gone."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING_THE_LOG))
        finally:
            os.close(handle)

    def restore(self) -> None:
        """Bring the disk back with what it has; everything that used it must have ended."""
        self._unmount()
        self._mount()

    def fill(self) -> None:
        """Leave no room for anybody."""
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(FILLER_BYTES))

    def make_room(self) -> None:
        """Take away what filled it."""
        self._filler.unlink(missing_ok=True)

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.path))

    def _unmount(self) -> None:
        for tries_left in range(UNMOUNT_TRIES, -1, -1):
            try:
                _run("umount", str(self.path))
            except NoPowerToCut:
                if not tries_left:
                    raise
                os.sched_yield()
                subprocess.run(["sleep", "0.1"], check=True)
            else:
                return


def why_not() -> str | None:
    """Say why no disk can be made here; None when one can."""
    if os.name != "posix" or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "only root may mount a file system and cut its power"
    missing = [program for program in ("mkfs.ext4", "mount", "umount") if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices"
    return None


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise NoPowerToCut(f"{' '.join(command)}: {done.stderr.strip()}")
