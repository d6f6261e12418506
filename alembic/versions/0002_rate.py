"""The rate of requests: buckets, what processes hold of them, and the function that draws.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from sqlalchemy.util import await_only

from alembic import op
from jobqueue.store.functions import function_source

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them; every bucket starts full, so no rows are needed."""
    run_script(TABLES)
    run_script(function_source("draw_rate_v1"))


def downgrade() -> None:
    """Drop them; buckets start full again."""
    run_script(DROP)


def run_script(text: str) -> None:
    """Run several statements at once, which only the driver itself does."""
    await_only(op.get_bind().connection.driver_connection.execute(text))


HOT = (
    "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0, "
    "autovacuum_analyze_scale_factor = 0.5, vacuum_truncate = off"
)
TABLES = f"""
CREATE TABLE jobqueue.rate_bucket (
  tenant_id INTEGER NOT NULL,
  tokens DOUBLE PRECISION NOT NULL,
  filled_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT rate_bucket_pkey PRIMARY KEY (tenant_id),
  CONSTRAINT rate_bucket_tokens CHECK (tokens >= 0)
)
 WITH (fillfactor = 50, {HOT});

COMMENT ON TABLE jobqueue.rate_bucket IS 'How many requests a tenant may make now, as of filled_at. No row: as many as its burst.';

CREATE TABLE jobqueue.rate_lease (
  tenant_id INTEGER NOT NULL,
  holder UUID NOT NULL,
  held INTEGER NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT rate_lease_pkey PRIMARY KEY (tenant_id, holder),
  CONSTRAINT rate_lease_held CHECK (held >= 0)
)
 WITH (fillfactor = 50, {HOT});

COMMENT ON TABLE jobqueue.rate_lease IS
  'Requests an API process drew ahead from a tenant''s bucket and has not spent; changed under the bucket''s lock.';
"""

DROP = """
DROP FUNCTION jobqueue.draw_rate_v1;
DROP TABLE jobqueue.rate_lease, jobqueue.rate_bucket;
"""
