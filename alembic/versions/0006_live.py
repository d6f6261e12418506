"""The live feed: how much history is gone, and tickets for streams.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SCHEMA = "jobqueue"


def upgrade() -> None:
    """Make both tables; nothing is gone yet."""
    op.create_table(
        "forgotten",
        sa.Column("is_it", sa.Boolean, primary_key=True, server_default=sa.text("true")),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.CheckConstraint("is_it", name="one_row"),
        schema=SCHEMA,
        comment="One row: up to which seq events may be gone with their weeks. A stream that asks for older ones is told to start over.",
    )
    op.create_table(
        "stream_ticket",
        sa.Column("ticket_sha256", sa.Text, primary_key=True),
        sa.Column("tenant_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("holder_id", sa.Text, nullable=False),
        sa.Column("scopes", ARRAY(sa.Text), nullable=False),
        sa.Column("credential_expires_at", TIMESTAMP(timezone=True)),
        sa.Column("expires_at", TIMESTAMP(timezone=True), nullable=False),
        schema=SCHEMA,
        comment="Lets a browser open one live stream, which cannot send a header: whom it speaks for. Deleted when it is used.",
    )


def downgrade() -> None:
    """Drop both; streams start over."""
    op.drop_table("stream_ticket", schema=SCHEMA)
    op.drop_table("forgotten", schema=SCHEMA)
