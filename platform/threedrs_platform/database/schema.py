"""The tables of journal and results. Change them only together with a migration."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

REVISION = "0006"
"""The newest migration; a fresh database is created directly in this state."""
READABLE = frozenset({"0004", "0005", REVISION})
"""Those that can be read as they are: an archive cannot be written to. Before 0006 there are no
`score_sums`; they are made of the scores, slowly."""

metadata = MetaData()
_Serial = BigInteger().with_variant(Integer, "sqlite")

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("state", String, nullable=False),
    Column("grid_file", String, nullable=False),
    Column("grid_yaml", Text, nullable=False),
    Column("spec_digest", String, nullable=False),
    Column("options_json", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("owner", String),
    Column("lease_until", Float),
    Column("cancel_requested", Boolean, nullable=False),
    Column("last_seq", Integer, nullable=False),
    Index("runs_by_name", "name", "created_at"),
)

cells = Table(
    "cells",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("cell_id", String, primary_key=True),
    Column("seed", Integer, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("name", String, nullable=False),
    Column("label", String, nullable=False),
    Column("params_json", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Index("cells_by_id", "cell_id"),
)

cell_steps = Table(
    "cell_steps",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("cell_id", String, primary_key=True),
    Column("seed", Integer, primary_key=True),
    Column("role", String, primary_key=True),
    Column("step_key", String, nullable=False),
    Index("cell_steps_by_step", "step_key"),
)

steps = Table(
    "steps",
    metadata,
    Column("key", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("label", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("recipe_json", Text, nullable=False),
    Column("spec_json", Text, nullable=False),
    Column("content_key", String),
    Column("output_digest", String),
    Column("output_bytes", BigInteger),
    Column("seconds", Float),
    Column("canonical_attempt", Integer),
    Column("owner", String),
    Column("epoch", Integer, nullable=False),
    Column("lease_until", Float),
    Column("failure", String),
    Column("message", Text),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Index("steps_by_content", "content_key"),
    Index("steps_by_kind", "kind", "label", "created_at"),
    Index("steps_by_output", "output_digest"),
    Index("steps_by_owner", "owner"),
)

step_inputs = Table(
    "step_inputs",
    metadata,
    Column("step_key", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("input_key", String, nullable=False),
    Column("digest", String),
    Index("step_inputs_by_input", "input_key"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("step_key", String, primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("run_id", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("state", String, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("node", String),
    Column("pid", Integer),
    Column("failure", String),
    Column("message", Text),
    Column("log_file", String),
    Column("seconds", Float),
    Column("cpu_s", Float),
    Column("gpu_s", Float),
    Column("max_rss", BigInteger),
    Column("note", String),
    Index("attempts_by_run", "run_id"),
)

acceptances = Table(
    "acceptances",
    metadata,
    Column("number", _Serial, primary_key=True),
    Column("key", String, nullable=False),
    Column("source", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("label", String, nullable=False),
    Column("old_code", String, nullable=False),
    Column("new_code", String, nullable=False),
    Column("changes_json", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("accepted_by", String, nullable=False),
    Column("accepted_at", Float, nullable=False),
    Column("taken_back_at", Float),
    Index("acceptances_by_key", "key"),
)

code_versions = Table(
    "code_versions",
    metadata,
    Column("digest", String, primary_key=True),
    Column("parts_json", Text, nullable=False),
    Column("first_seen", Float, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("digest", String, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("files", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("type", String, nullable=False),
    Column("step_key", String),
    Column("payload_json", Text, nullable=False),
)

metrics = Table(
    "metrics",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("step_key", String, nullable=False),
    Column("name", String, nullable=False),
    Column("value", Float, nullable=False),
    Column("n", Integer, nullable=False),
    Column("unit", String, nullable=False),
    Column("chance", Float),
    Column("majority", Float),
    Column("ci_low", Float),
    Column("ci_high", Float),
    Index("metrics_by_step", "step_key", "name", unique=True),
    Index("metrics_by_name", "name"),
)

sample_scores = Table(
    "sample_scores",
    metadata,
    Column("step_key", String, nullable=False),
    Column("metric", String, nullable=False),
    Column("sample_id", String, nullable=False),
    Column("scene_id", String, nullable=False),
    Column("value", Float),
    Index("sample_scores_by_scene", "step_key", "metric", "scene_id", "value"),
)

score_sums = Table(
    "score_sums",
    metadata,
    Column("step_key", String, primary_key=True),
    Column("metric", String, primary_key=True),
    Column("scenes", Text, nullable=False),
    Column("totals", LargeBinary, nullable=False),
    Column("counts", LargeBinary, nullable=False),
)
"""The scores of a step summed by scene: names as a list in JSON, sorted; sums of float64 and counts
of int64, little-endian. Tables and tests of thousands of cells read these and no score."""

curves = Table(
    "curves",
    metadata,
    Column("step_key", String, nullable=False),
    Column("step", Integer, nullable=False),
    Column("name", String, nullable=False),
    Column("value", Float),
    Index("curves_by_step", "step_key", "name", "step"),
)

MEASURED = (metrics, sample_scores, score_sums, curves)
"""What a step has measured, by `step_key`: written, replaced, copied and withdrawn together."""

outbox = Table(
    "outbox",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("kind", String, nullable=False),
    Column("run_id", String, nullable=False),
    Column("payload_json", Text, nullable=False),
    Column("done_at", Float),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("error", Text),
    Index("outbox_open", "done_at", "id"),
)

turns = Table(
    "turns",
    metadata,
    Column("writer", String, primary_key=True),
    Column("token", String, nullable=False),
    Column("at", Float, nullable=False),
)
"""The last transaction of each writer (PostgreSQL): tells whether one happened whose answer was
lost."""
