"""The second wall: a function that binds the role of single-tenant statements by row-level security; every migration ends with it.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from alembic import op
from jobqueue.store.functions import function_source

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Install it; `operations.migrations.upgrade` calls it, so that tables of later migrations are bound, too."""
    op.get_bind().exec_driver_sql(function_source("raise_wall_v1"))


def downgrade() -> None:
    """Take the policies off; the role stays, other databases may use it."""
    op.get_bind().exec_driver_sql(DOWN)


DOWN = """
DO $do$
DECLARE
  item record;
BEGIN
  FOR item IN
    SELECT format('%I.%I', p.schemaname, p.tablename) AS name
    FROM pg_policies p
    WHERE p.schemaname = 'jobqueue' AND p.policyname = 'one_tenant'
  LOOP
    EXECUTE 'DROP POLICY one_tenant ON ' || item.name;
    EXECUTE 'ALTER TABLE ' || item.name || ' DISABLE ROW LEVEL SECURITY';
  END LOOP;
  DROP FUNCTION jobqueue.raise_wall_v1;
END $do$
"""
