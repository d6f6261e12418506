"""When tables that are written and deleted from are vacuumed: by count, not by a fifth of their rows.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

HOT = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "2000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0.5",
    "vacuum_truncate": "off",
}
LARGE = {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_threshold": "10000"}
TABLES = {"blocked": HOT, "queue_sample": HOT, "ended": LARGE, "idempotency": LARGE}


def upgrade() -> None:
    """Set them."""
    for table, settings in TABLES.items():
        op.execute(f"ALTER TABLE jobqueue.{table} SET ({', '.join(f'{name} = {value}' for name, value in settings.items())})")


def downgrade() -> None:
    """Leave them to the server's settings."""
    for table, settings in TABLES.items():
        op.execute(f"ALTER TABLE jobqueue.{table} RESET ({', '.join(settings)})")
