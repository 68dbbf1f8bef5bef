"""An index from which scores are summed by scene without a look at their rows."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Put it in the place of the one that is its beginning."""
    columns = ["step_key", "metric", "scene_id", "value"]
    op.create_index("sample_scores_by_scene", "sample_scores", columns)
    op.drop_index("sample_scores_by_step", table_name="sample_scores")
