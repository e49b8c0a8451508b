"""Members, pins, deployed revisions and the history of all changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "member",
        sa.Column("node", sa.String(255), primary_key=True),
        sa.Column("cluster", sa.String(255), nullable=False, index=True),
    )
    op.create_table(
        "pin",
        sa.Column("node", sa.String(255), primary_key=True),
        sa.Column("revision", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    )
    op.create_table(
        "deployed",
        sa.Column("cluster", sa.String(255), primary_key=True),
        sa.Column("revision", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    )
    op.create_table(
        "change",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("at", sa.DateTime(), nullable=False, index=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("node", sa.String(255), nullable=False, index=True),
        sa.Column("cluster", sa.String(255), nullable=False, index=True),
        sa.Column("before", sa.String(255), nullable=False),
        sa.Column("after", sa.String(255), nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("change", "deployed", "pin", "member"):
        op.drop_table(name)
