"""The audit trail: a table that is only added to, in monthly partitions.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from sqlalchemy.util import await_only

from alembic import op
from jobqueue.store.functions import function_source

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, what refuses changes, and the first months."""
    for text in (TABLE, function_source("audit_v1"), GUARDS):
        run_script(text)


def downgrade() -> None:
    """Drop all of it, with the rows."""
    run_script(DROP)


def run_script(text: str) -> None:
    """Run several statements at once, which only the driver itself does."""
    await_only(op.get_bind().connection.driver_connection.execute(text))


TABLE = """
CREATE TABLE jobqueue.audit (
  audit_id UUID NOT NULL,
  tenant_id INTEGER NOT NULL,
  at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
  actor_kind TEXT NOT NULL,
  actor_id TEXT,
  actor_name TEXT,
  action TEXT NOT NULL,
  target_kind TEXT NOT NULL,
  target_id TEXT,
  request_id TEXT,
  correlation_id TEXT,
  address TEXT,
  data JSON NOT NULL,
  CONSTRAINT audit_pkey PRIMARY KEY (audit_id),
  CONSTRAINT audit_actor_kind CHECK (actor_kind IN ('user', 'key', 'operator', 'cli', 'system', 'unknown')),
  CONSTRAINT audit_action CHECK (action ~ '^[a-z_]+\\.[a-z_]+$'),
  CONSTRAINT audit_data CHECK (octet_length(data::text) <= 16384)
) PARTITION BY RANGE (audit_id);
CREATE INDEX audit_of_tenant ON jobqueue.audit (tenant_id, audit_id);
CREATE INDEX audit_action ON jobqueue.audit (tenant_id, action, audit_id);
CREATE INDEX audit_actor ON jobqueue.audit (tenant_id, actor_id, audit_id);
CREATE INDEX audit_target ON jobqueue.audit (tenant_id, target_id, audit_id);
COMMENT ON TABLE jobqueue.audit IS
  'Who did what, written in the transaction that did it. Rows are only added (triggers and grants hold it) and go with their month. '
  'tenant_id 0: no tenant''s in particular. The time is in the id, too.';
"""

GUARDS = """
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON jobqueue.audit
  FOR EACH STATEMENT EXECUTE FUNCTION jobqueue.refuse_change_v1();
CREATE TRIGGER insert_only_row BEFORE UPDATE OR DELETE ON jobqueue.audit
  FOR EACH ROW EXECUTE FUNCTION jobqueue.refuse_change_v1();
SELECT jobqueue.make_audit_months_v1(clock_timestamp(), 4);
"""

DROP = """
DROP TABLE jobqueue.audit;
DROP FUNCTION jobqueue.drop_audit_month_v1, jobqueue.make_audit_months_v1, jobqueue.make_audit_partition_v1, jobqueue.refuse_change_v1;
"""
