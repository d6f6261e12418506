"""A deployment per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.whole.roles import Roles


@pytest.fixture
def roles(database: str, tmp_path: Path) -> Iterator[Roles]:
    """Processes on a database of the test's own; ended after it."""
    roles = Roles(database, tmp_path)
    yield roles
    roles.stop()
