"""Which version of the product this is."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

DISTRIBUTION: Final = "jobqueue"
UNKNOWN: Final = "unknown"


def own_version() -> str:
    """Read the installed version; a source tree that is not installed has none."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return UNKNOWN
