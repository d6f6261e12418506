"""People: users with their passwords' hashes, and how fast logins may be tried.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.util import await_only

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    run_script(Path(__file__).with_suffix(".sql").read_text("utf-8"))


def downgrade() -> None:
    """Drop them; nobody can log in any more."""
    run_script("DROP TABLE jobqueue.login_bucket, jobqueue.app_user")


def run_script(text: str) -> None:
    """Run several statements at once, which only the driver itself does."""
    await_only(op.get_bind().connection.driver_connection.execute(text))
