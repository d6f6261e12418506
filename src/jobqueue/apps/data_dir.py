"""The data directory of `jobqueue dev`: who uses it, and the secrets that survive a restart.

Layout (files 0600): `lock` is held by the running dev, `signing_key` and `api_key` are the demo's, `database_url` is the address of the
embedded database while it runs, `postgres/` belongs to apps/embedded.py.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from jobqueue.apps.refusals import StartRefused

SIGNING_KEY_BYTES: Final = 32


class DataDir:
    """One directory, while it is ours."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def postgres(self) -> Path:
        """Where the embedded server lives."""
        return self.path / "postgres"

    def signing_key(self) -> str:
        """Read the key that signs tokens, or make one."""
        return self.read("signing_key") or self.write("signing_key", secrets.token_hex(SIGNING_KEY_BYTES))

    def read(self, name: str) -> str | None:
        """Read a secret; None when there is none."""
        try:
            return (self.path / name).read_text().strip() or None
        except FileNotFoundError:
            return None

    def write(self, name: str, secret: str) -> str:
        """Keep a secret, whole or not at all, for its owner's eyes only; answers it."""
        new = self.path / f"{name}.new"
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secret}\n")
        new.rename(self.path / name)
        return secret

    def forget(self, name: str) -> None:
        """Remove a secret."""
        (self.path / name).unlink(missing_ok=True)


@contextmanager
def owned(path: Path) -> Iterator[DataDir]:
    """Make the directory ours while the block runs; the system lets go when the process ends, however it ends. Raises StartRefused."""
    path = path.expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartRefused(f"--data-dir: cannot use {path}: {error.strerror}; choose another one") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise StartRefused(f"{path} is in use by another running `jobqueue dev`; stop it, or choose another --data-dir") from error
    try:
        yield DataDir(path)
    finally:
        os.close(lock)
