"""Leases found by the claim they were made for: a worker over HTTP that did not get its answer asks again.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index; leases of database workers have no claim id and are not in it."""
    op.execute("CREATE INDEX lease_claim ON jobqueue.lease (claim_id) WHERE claim_id IS NOT NULL")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP INDEX jobqueue.lease_claim")
