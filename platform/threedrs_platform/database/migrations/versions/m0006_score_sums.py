"""Scores summed by scene are kept beside the scores, so that a table need not read them all."""

from __future__ import annotations

import json
import struct
from itertools import groupby
from operator import itemgetter

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
AT_ONCE = 200_000
"""Rows that are fetched together."""

SUMS = """
SELECT step_key, metric, scene_id, sum(value), count(value) FROM sample_scores
GROUP BY step_key, metric, scene_id HAVING count(value) > 0
ORDER BY step_key, metric, scene_id
"""


def upgrade() -> None:
    """Add the table, and sum what is there."""
    table = op.create_table(
        "score_sums",
        sa.Column("step_key", sa.String(), primary_key=True),
        sa.Column("metric", sa.String(), primary_key=True),
        sa.Column("scenes", sa.Text(), nullable=False),
        sa.Column("totals", sa.LargeBinary(), nullable=False),
        sa.Column("counts", sa.LargeBinary(), nullable=False),
    )
    connection = op.get_bind()
    rows = connection.execute(sa.text(SUMS).execution_options(yield_per=AT_ONCE))
    for (step_key, metric), group in groupby(rows, itemgetter(0, 1)):
        scenes, totals, counts = zip(*sorted(tuple(row[2:]) for row in group), strict=True)
        values = {
            "step_key": step_key,
            "metric": metric,
            "scenes": json.dumps(scenes),
            "totals": struct.pack(f"<{len(totals)}d", *totals),
            "counts": struct.pack(f"<{len(counts)}q", *counts),
        }
        connection.execute(table.insert(), values)
