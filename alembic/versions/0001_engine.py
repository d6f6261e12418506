"""The engine: tables, functions, the jobs view, the plans and the first partitions.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.util import await_only

from alembic import op
from jobqueue.store.functions import function_source

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

FUNCTIONS = (
    "ids_v1", "partitions_v1", "status_v1", "active_lanes_v1", "unpark_v1", "sweep_keys_v1", "claim_v1", "settle_v1", "submit_v1",
    "heartbeat_v1", "cancel_v1", "retry_v1", "patch_v1", "force_success_v1", "set_queue_v1", "read_jobs_v1", "oldest_ready_v1",
    "oldest_due_v1",
    "lost_v1", "promote_v1", "expire_v1", "fold_tally_v1", "drop_week_v1", "jobs_view_v1",
)  # fmt: skip


def upgrade() -> None:
    """Make everything; the schema itself is there, it holds the version."""
    connection = op.get_bind()
    connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS jobqueue")
    for text in (Path(__file__).with_suffix(".sql").read_text("utf-8"), *map(function_source, FUNCTIONS), SEEDS):
        run_script(text)


def downgrade() -> None:
    """Drop everything but the schema, which holds the version. All jobs are lost; there is nothing older to keep them in."""
    run_script(DROP)


def run_script(text: str) -> None:
    """Run several statements at once, which only the driver itself does."""
    await_only(op.get_bind().connection.driver_connection.execute(text))


SEEDS = """
INSERT INTO jobqueue.plan (name, weight) VALUES ('free', 1), ('pro', 5), ('business', 7), ('enterprise', 10);
CREATE TABLE jobqueue.job_rest PARTITION OF jobqueue.job DEFAULT;
CREATE TABLE jobqueue.outcome_rest PARTITION OF jobqueue.outcome DEFAULT;
CREATE TABLE jobqueue.event_rest PARTITION OF jobqueue.event DEFAULT;
SELECT jobqueue.make_partitions_v1(clock_timestamp() - interval '7 days', 6);
"""

DROP = """
DO $do$
DECLARE
  item record;
BEGIN
  DROP VIEW jobqueue.jobs;
  FOR item IN SELECT p.oid::regprocedure AS name FROM pg_proc p WHERE p.pronamespace = 'jobqueue'::regnamespace LOOP
    EXECUTE 'DROP FUNCTION ' || item.name;
  END LOOP;
  FOR item IN
    SELECT c.oid::regclass AS name
    FROM pg_class c
    WHERE c.relnamespace = 'jobqueue'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'schema_version'
  LOOP
    EXECUTE 'DROP TABLE ' || item.name;
  END LOOP;
  DROP SEQUENCE jobqueue.claim_seq, jobqueue.event_seq, jobqueue.outcome_seq;
END $do$;
"""
