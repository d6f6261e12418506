"""Run the migrations in one transaction on a connection the caller gives (operations/migrations.py).

A transaction-level advisory lock makes it safe to start from several places at once: the second one waits, and finds nothing to do. For a
table it waits a moment only: who waits for a lock that shuts a table holds up everybody who comes after it, and roles are at work. The
caller tries again.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from alembic import context
from jobqueue.store.tables import SCHEMA, metadata

LOCK = 7_301_846_220_118_231
TABLE_LOCK_TIMEOUT = "2s"


def run(connection: Connection) -> None:
    """Migrate on this connection; the caller commits."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    connection.execute(text("SELECT set_config('lock_timeout', :timeout, true)"), {"timeout": TABLE_LOCK_TIMEOUT})
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table="schema_version",
        version_table_schema=SCHEMA,
        include_schemas=True,
    )
    context.run_migrations()


run(context.config.attributes["connection"])
