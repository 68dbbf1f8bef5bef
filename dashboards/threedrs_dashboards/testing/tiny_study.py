"""A study of tuning that never ran: ten trials with invented values."""

from __future__ import annotations

from pathlib import Path

import optuna

from threedrs_platform.database.studies import (
    KEYS,
    keep_facts,
    open_storage,
    prepare_storage,
    study_name,
)
from threedrs_platform.database.trials import SearchRange, StudyFacts
from threedrs_platform.workspace import Workspace

RUN = "grid-0123abcd"
STUDY = f"{RUN}/teacher=vggt"


def write_tiny_study(
    folder: Path, url: str, metrics: tuple[str, ...], *, has_keys: bool = True
) -> optuna.Study:
    """Ten trials: the weight decides everything, the layer nothing; two are pruned."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with Workspace(folder, url, "") as workspace:
        prepare_storage(workspace)
        study = optuna.create_study(
            study_name=study_name(RUN, {"teacher": "vggt"}),
            storage=open_storage(workspace, RUN),
            directions=["maximize" for _ in metrics],
        )
    directions = ("maximize",) * len(metrics)
    facts = StudyFacts(
        run=RUN, grid="grid", arm={"teacher": "vggt"}, metrics=metrics, directions=directions,
        space={"alignment.weight": "0.1 to 10", "alignment.layer": "-1, 2"}, trials=12, seeds=(0,),
        training_steps=10, held_out=0.2, run_id="run-1", watched="-validation/loss",
        ranges={"alignment.weight": SearchRange(0.1, 10.0)},
    )  # fmt: skip
    keep_facts(study, facts)
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        "alignment.weight": optuna.distributions.FloatDistribution(0.1, 10.0),
        "alignment.layer": optuna.distributions.CategoricalDistribution([-1, 2]),
    }
    for number in range(10):
        is_pruned = number in (3, 7) and len(metrics) == 1
        state = optuna.trial.TrialState.PRUNED if is_pruned else optuna.trial.TrialState.COMPLETE
        values = [float(number), float((9 - number) // 2)][: len(metrics)]
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                params={"alignment.weight": 1.0 + number, "alignment.layer": (-1, 2)[number % 2]},
                distributions=distributions,
                values=None if is_pruned else values,
                intermediate_values={5: number - 1.0} if is_pruned else {},
                user_attrs={"cell_id": "id-vggt", "seconds": 3.0}
                | ({KEYS: {}} if has_keys else {}),
            )
        )
    return study
