"""A tenant's files: what handlers reach as `ctx.files`, and nothing beside it.

A path is relative, below JOBQUEUE_FILES_DIR/<tenant>. It is never resolved as text: every directory on the way is opened by its name in
the directory before it, and a link is never followed, so nothing that is moved or replaced meanwhile leads out. Links of both kinds,
devices, pipes and sockets are refused. The directory itself is the operator's and may be a link.

A file is written beside its place under a name of its own and renamed into it once it is whole and on disk: a reader sees the old file
or the new one. A process that is killed leaves its part behind (`.jobqueue-*.part`); no reader mistakes it for the file.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PATH_CHARS_MAX: Final = 1_024
PATH_DEPTH_MAX: Final = 32
NAME_BYTES_MAX: Final = 255
"""What Linux file systems hold; said here so that the refusal names the reason."""

READ_BYTES_MAX: Final = 16 * 1024**3
WRITE_BYTES_MAX: Final = 16 * 1024**3
"""One file's size: far above what a job should handle, below what fills a usual disk at once."""

PART_PREFIX: Final = ".jobqueue-"
PART_SUFFIX: Final = ".part"

IS_CONFINING: Final = hasattr(os, "O_NOFOLLOW") and os.open in os.supports_dir_fd
"""Not on Windows. The module is imported there all the same, by programs that only submit jobs."""

_DIRECTORY: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_HOW_READ: Final = os.O_RDONLY | _NO_LINK | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_NONBLOCK", 0)  # else a pipe waits for its writer
_HOW_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK
_LINK_ERRORS: Final = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)


class FileRefused(Exception):
    """A file the job may not have: trying again is of no use. The message names the path as the job gave it."""


class Files:
    """The files of one tenant. Without a directory (None) every use is refused."""

    __slots__ = ("_root", "_tenant")

    def __init__(self, root: str | None, tenant: str) -> None:
        self._root = root
        self._tenant = tenant

    @contextmanager
    def read(self, path: str, *, bytes_max: int = READ_BYTES_MAX) -> Iterator[BinaryIO]:
        """Open a file to read it. Raises FileRefused, also for one that is larger than bytes_max; FileNotFoundError and OSError."""
        *parents, name = _split(path)
        directory = self._enter(path, parents, makes=False)
        try:
            with _naming(path):
                _check_regular(path, os.stat(name, dir_fd=directory, follow_symlinks=False))
                fd = os.open(name, _HOW_READ, dir_fd=directory)
        finally:
            os.close(directory)
        with io.FileIO(fd, "rb") as raw:
            found = os.fstat(fd)  # what was opened, whatever the name stood for a moment ago
            _check_regular(path, found)
            if found.st_size > bytes_max:
                raise FileRefused(f"file {path!r} has {found.st_size} bytes, more than {bytes_max}")
            with io.BufferedReader(raw) as file:
                yield file

    @contextmanager
    def write(self, path: str, *, bytes_max: int = WRITE_BYTES_MAX) -> Iterator[BinaryIO]:
        """Write a file, new or in place of an old one, its directories made as needed; it is there when the block has ended well.

        If the block raises, nothing has changed but for directories made. Raises FileRefused, also past bytes_max; OSError.
        """
        *parents, name = _split(path)
        directory = self._enter(path, parents, makes=True)
        try:
            _check_replaceable(path, name, directory)
            part = f"{PART_PREFIX}{secrets.token_hex(8)}{PART_SUFFIX}"
            with _naming(path):
                fd = os.open(part, _HOW_WRITE, 0o666, dir_fd=directory)  # the umask decides
            try:
                raw = _Bounded(fd, path, bytes_max)
                file = io.BufferedWriter(raw)
                try:
                    yield file
                    if not file.closed:  # a wrapper around it may have closed it
                        file.flush()
                    os.fsync(fd)
                finally:
                    raw.is_over = True
                    file.close()
                    os.close(fd)
                _check_replaceable(path, name, directory)
                with _naming(path):
                    os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(OSError):
                    os.unlink(part, dir_fd=directory)
                raise
            os.fsync(directory)
        finally:
            os.close(directory)

    def _enter(self, path: str, parents: list[str], *, makes: bool) -> int:
        """Open the directory a path lies in, one name after the other; the caller closes it."""
        if self._root is None:
            raise FileRefused("handlers read and write no files here: JOBQUEUE_FILES_DIR is not set for this worker")
        if not IS_CONFINING:
            raise FileRefused("handlers read and write no files here: this system cannot keep them inside a directory")
        try:
            directory = os.open(self._root, _DIRECTORY)
        except OSError as error:
            raise OSError(error.errno, "the directory of JOBQUEUE_FILES_DIR cannot be opened") from error
        try:
            for name in (*_split(self._tenant), *parents):
                inner = _open_directory(path, name, directory, makes=makes)
                os.close(directory)
                directory = inner
        except BaseException:
            os.close(directory)
            raise
        return directory


class _Bounded(io.FileIO):
    """A file that is not written past a size, nor any more when it is over: what a buffer still holds then is dropped.

    Else the buffer would write it when it is collected, to whatever file has the descriptor's number by then.
    """

    is_over = False

    def __init__(self, fd: int, path: str, bytes_max: int) -> None:
        super().__init__(fd, "wb", closefd=False)
        self._path = path
        self._bytes_max = bytes_max
        self._bytes_left = bytes_max

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, or raise FileRefused."""
        if self.is_over:
            return memoryview(data).nbytes
        self._bytes_left -= memoryview(data).nbytes
        if self._bytes_left < 0:
            raise FileRefused(f"file {self._path!r} would have more than {self._bytes_max} bytes")
        written = super().write(data)
        assert written is not None, "the file blocks"
        self._bytes_left += memoryview(data).nbytes - written
        return written


def _split(path: str) -> list[str]:
    """Take a path apart, or refuse it. Raises FileRefused."""
    if not path or len(path) > PATH_CHARS_MAX:
        raise FileRefused(f"a file's path has 1 to {PATH_CHARS_MAX} characters")
    names = path.split("/")
    if len(names) > PATH_DEPTH_MAX:
        raise FileRefused(f"path {path!r} has more than {PATH_DEPTH_MAX} parts")
    for name in names:
        if (why := _why_not(name)) is not None:
            raise FileRefused(f"path {path!r} is refused: {why}")
    return names


def _why_not(name: str) -> str | None:
    if name in ("", ".", ".."):
        return "it is relative to the tenant's directory and has no empty part, no `.` and no `..`"
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        return "it has a control character"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it is not Unicode text"
    if size > NAME_BYTES_MAX:
        return f"a part of it has more than {NAME_BYTES_MAX} bytes"
    if name.startswith(PART_PREFIX) and name.endswith(PART_SUFFIX):
        return "the name is one of a file that is being written"
    return None


def _open_directory(path: str, name: str, parent: int, *, makes: bool) -> int:
    with _naming(path):
        if makes:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=parent)
        return os.open(name, _DIRECTORY | _NO_LINK, dir_fd=parent)


def _check_regular(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise FileRefused(f"path {path!r} is not a plain file: links, directories, devices and pipes are refused")
    if found.st_nlink > 1:
        raise FileRefused(f"path {path!r} is a link: the file has {found.st_nlink} names")


def _check_replaceable(path: str, name: str, directory: int) -> None:
    """Refuse to put a file in the place of anything but a plain one. The rename itself follows no link."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise FileRefused(f"path {path!r} is taken by what is not a plain file")


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Say what went wrong by the path the job gave: it knows neither the directory nor the single names."""
    try:
        yield
    except OSError as error:
        if error.errno in _LINK_ERRORS:
            raise FileRefused(f"path {path!r} leads over a link, or over what is not a directory") from None
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
