"""How often a message could not be delivered, and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add both columns."""
    tries = sa.Column("tries", sa.Integer(), nullable=False, server_default="0")
    op.add_column("outbox", tries)
    op.add_column("outbox", sa.Column("error", sa.Text(), nullable=True))
