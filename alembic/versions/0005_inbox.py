"""The inbox: what jobqueue.submit writes inside a caller's own transaction, and what moves it on.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from sqlalchemy.util import await_only

from alembic import op
from jobqueue.store.functions import function_source

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen the table, which nobody has written to before this, and install the functions."""
    for text in (COLUMNS, function_source("caller_submit_v1"), function_source("receive_v1")):
        run_script(text)


def downgrade() -> None:
    """Drop what was added. Jobs that were not moved on yet are lost: run a reaper before."""
    run_script(DROP)


def run_script(text: str) -> None:
    """Run several statements at once, which only the driver itself does."""
    await_only(op.get_bind().connection.driver_connection.execute(text))


COLUMNS = """
TRUNCATE jobqueue.inbox;
ALTER TABLE jobqueue.inbox
  ADD COLUMN queue TEXT NOT NULL,
  ADD COLUMN job_type TEXT NOT NULL,
  ADD COLUMN priority SMALLINT NOT NULL,
  ADD COLUMN max_attempts SMALLINT,
  ADD COLUMN timeout_s INTEGER,
  ADD COLUMN concurrency_key TEXT,
  ADD COLUMN idempotency_key TEXT,
  ADD COLUMN correlation_id TEXT,
  ADD COLUMN traceparent TEXT,
  ADD COLUMN tags TEXT[],
  ADD COLUMN metadata JSON,
  ADD COLUMN data JSON NOT NULL;
ALTER TABLE jobqueue.inbox SET (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_analyze_scale_factor = 0.5, vacuum_truncate = off);
COMMENT ON TABLE jobqueue.inbox IS
  'Jobs submitted inside a caller''s own transaction, names and all, until it has committed and they are moved on.';
"""

DROP = """
DROP FUNCTION jobqueue.submit, jobqueue.receive_v1;
TRUNCATE jobqueue.inbox;
ALTER TABLE jobqueue.inbox
  DROP COLUMN queue, DROP COLUMN job_type, DROP COLUMN priority, DROP COLUMN max_attempts, DROP COLUMN timeout_s,
  DROP COLUMN concurrency_key, DROP COLUMN idempotency_key, DROP COLUMN correlation_id, DROP COLUMN traceparent, DROP COLUMN tags,
  DROP COLUMN metadata, DROP COLUMN data;
ALTER TABLE jobqueue.inbox RESET (
  autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay, autovacuum_analyze_scale_factor,
  vacuum_truncate);
COMMENT ON TABLE jobqueue.inbox IS
  'Jobs submitted inside a caller''s own transaction; moved on with their event once it has committed.';
"""
