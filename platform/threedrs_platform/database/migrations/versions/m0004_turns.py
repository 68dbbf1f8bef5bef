"""The last transaction of each writer, to tell whether one happened whose answer was lost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "turns",
        sa.Column("writer", sa.String(), primary_key=True),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
    )
