"""What commands on the server's side share: the settings, and the server's packages where they are installed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jobqueue.apps.refusals import StartRefused

if TYPE_CHECKING:
    from jobqueue.config import Settings


def load_settings(*needs: str) -> "Settings":
    """Read the settings; needs are those the command cannot do without. Raises StartRefused."""
    from jobqueue.config import ConfigurationError, load

    try:
        return load(os.environ, needs=needs)
    except ConfigurationError as error:
        raise StartRefused(str(error)) from error


@contextmanager
def server_packages() -> Iterator[None]:
    """Import what needs the extra `server` inside this block. Raises StartRefused where it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "jobqueue":
            raise
        raise StartRefused(f"this command needs the server's packages ({error.name} is missing): pip install 'jobqueue[server]'") from error
