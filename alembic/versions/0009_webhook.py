"""Webhooks: endpoints, what they are told, and how far the history has been turned into that.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.util import await_only

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; what was until now is told to nobody."""
    run_script(Path(__file__).with_suffix(".sql").read_text("utf-8"))


def downgrade() -> None:
    """Drop them; nobody is told any more."""
    run_script("DROP TABLE jobqueue.webhook_cursor, jobqueue.webhook_delivery, jobqueue.webhook")


def run_script(text: str) -> None:
    """Run several statements at once, which only the driver itself does."""
    await_only(op.get_bind().connection.driver_connection.execute(text))
