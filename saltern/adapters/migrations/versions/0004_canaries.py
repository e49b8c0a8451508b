"""Canaries: which things in which cloud must survive, and how they were."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "flock",
        sa.Column("cluster", sa.String(255), primary_key=True),
        sa.Column("cloud", sa.String(255), primary_key=True),
        sa.Column("seed", sa.String(64), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
    )
    op.create_table(
        "canary",
        sa.Column("cluster", sa.String(255), primary_key=True),
        sa.Column("cloud", sa.String(255), primary_key=True),
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("id", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("canary", "flock"):
        op.drop_table(name)
