"""Means over seeds of a run's main numbers, as Markdown: the newest, or the one that is named.

python docs/examples/table_of_a_run.py [RUN]
"""

from __future__ import annotations

import sys

import threedrs


def main(run: str | None = None) -> None:
    """Print the table."""
    table = threedrs.results(
        run, metrics=["scanrefer/acc@0.25*", "scanqa/em@1", "probe/position_xy"]
    )
    means = table.pivot_table("value", "metric", "cell", sort=False)
    print("| | " + " | ".join(means.columns) + " |")
    print("|---" * (len(means.columns) + 1) + "|")
    for metric, row in means.iterrows():
        print(f"| {metric} | " + " | ".join(f"{value:.1f}" for value in row) + " |")


if __name__ == "__main__":
    main(*sys.argv[1:])
