"""Samples of probes stand for one second or, once they are old, for several."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the width; what is there are single seconds."""
    op.add_column("sample", sa.Column("width", sa.Integer(), nullable=False, server_default="1"))


def downgrade() -> None:
    """Drop it; what was put together stays so, and looks like one second."""
    op.drop_column("sample", "width")
