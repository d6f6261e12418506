"""The version the program asks for is the newest migration there is."""

from __future__ import annotations

from alembic.config import Config
from alembic.script import ScriptDirectory

from jobqueue.operations.migrations import CHECKOUT
from jobqueue.operations.server import SCHEMA_NEEDED


def test_the_schema_needed_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(CHECKOUT))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_NEEDED
