"""Plans, rollouts and their steps, locks, leases, samples of probes, verdicts and evidence."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "plan",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("cluster", sa.String(255), nullable=False, index=True),
        sa.Column("workflow", sa.String(32), nullable=False),
        sa.Column("revision", sa.String(64), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_table(
        "rollout",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("plan", sa.String(64), nullable=False),
        sa.Column("cluster", sa.String(255), nullable=False, index=True),
        sa.Column("workflow", sa.String(32), nullable=False),
        sa.Column("revision", sa.String(64), nullable=False),
        sa.Column("undoes", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("approved_by", sa.String(255), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("begun", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double()),
        sa.Column("pause", sa.Boolean(), nullable=False),
        sa.Column("abort", sa.Boolean(), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
    )
    op.create_table(
        "step",
        sa.Column("rollout", sa.String(32), primary_key=True),
        sa.Column("step", sa.String(255), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("jids", sa.Text(), nullable=False),
        sa.Column("begun", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double()),
        sa.Column("results", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
    )
    op.create_table(
        "lock",
        sa.Column("cluster", sa.String(255), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("rollout", sa.String(32), nullable=False, index=True),
    )
    op.create_table(
        "lease",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False, index=True),
        sa.Column("step", sa.String(255), nullable=False),
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("undo", sa.Text(), nullable=False),
        sa.Column("taken", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.Column("released", sa.Double()),
    )
    op.create_table(
        "keep",
        sa.Column("rollout", sa.String(32), primary_key=True),
        sa.Column("revision", sa.String(64), primary_key=True),
    )
    op.create_table(
        "sample",
        sa.Column("rollout", sa.String(32), primary_key=True),
        sa.Column("probe", sa.String(64), primary_key=True),
        sa.Column("second", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("max_ms", sa.Double(), nullable=False),
        sa.Column("gap_ms", sa.Double(), nullable=False),
    )
    op.create_table(
        "verdict",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("rollout", sa.String(32), nullable=False, index=True),
        sa.Column("step", sa.String(255), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("role", sa.String(255), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
    )
    op.create_table(
        "evidence",
        sa.Column("rollout", sa.String(32), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in (
        "evidence", "verdict", "sample", "keep", "lease", "lock", "step", "rollout", "plan"
    ):  # fmt: skip
        op.drop_table(name)
