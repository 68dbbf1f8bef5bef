from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from threedrs_platform.database.studies import (
    CELL,
    facts_of,
    find_studies,
    journal_file,
    keep_facts,
    load_study,
    open_storage,
    prepare_storage,
    read_study,
    study_name,
    study_names,
)
from threedrs_platform.database.trials import SearchRange, StudyFacts, choice_text
from threedrs_platform.errors import ConfigError, DataError
from threedrs_platform.testing.databases import database_kinds, fresh_database
from threedrs_platform.workspace import Workspace

RUN = "grid-0123abcd"
ARM = {"teacher": "vggt"}


@pytest.fixture(params=database_kinds())
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    with fresh_database(request.param, tmp_path) as url, Workspace(tmp_path, url, "") as workspace:
        yield workspace


def make_study(workspace: Workspace) -> tuple[optuna.Study, StudyFacts]:
    prepare_storage(workspace)
    study = optuna.create_study(
        study_name=study_name(RUN, ARM), storage=open_storage(workspace, RUN)
    )
    facts = StudyFacts(
        run=RUN,
        grid="grid",
        arm=ARM,
        metrics=("scanqa/em@1",),
        directions=("maximize",),
        space={"alignment.weight": "0.1 to 10"},
        trials=4,
        seeds=(0,),
        training_steps=10,
        held_out=0.2,
        choices={"alignment.layers": [[-1], [1, 2]]},
        ranges={"alignment.weight": SearchRange(0.1, 10.0, log=True, wider_below=False)},
    )
    keep_facts(study, facts)
    return study, facts


def test_a_study_is_found_again_with_its_facts(workspace: Workspace) -> None:
    assert study_names(workspace) == []
    _, facts = make_study(workspace)
    assert study_names(workspace) == ["grid-0123abcd/teacher=vggt"]
    assert facts_of(load_study(workspace, "grid-0123abcd/teacher=vggt")) == facts


def test_looking_for_studies_creates_nothing(tmp_path: Path) -> None:
    assert study_names(Workspace(tmp_path / "none", "", "")) == []
    assert not (tmp_path / "none").exists()


def test_an_unknown_study_is_refused_with_the_nearest_name(workspace: Workspace) -> None:
    make_study(workspace)
    with pytest.raises(ConfigError, match="did you mean 'grid-0123abcd/teacher=vggt'"):
        load_study(workspace, "grid-0123abcd/teacher=vgtt")


def test_trials_have_their_choices_as_written(workspace: Workspace) -> None:
    study, facts = make_study(workspace)
    trial = study.ask()
    texts = [choice_text(choice) for choice in facts.choices["alignment.layers"]]
    chosen = trial.suggest_categorical("alignment.layers", texts)
    trial.set_user_attr(CELL, "0a1b")
    trial.report(0.5, 3)
    study.tell(trial, 0.75)
    (row,) = read_study(load_study(workspace, study.study_name)).trials
    assert choice_text(row.params["alignment.layers"]) == chosen
    assert (row.state, row.values, row.cell_id) == ("complete", (0.75,), "0a1b")
    assert row.intermediate == {3: 0.5}


def test_a_journal_survives_a_writer_killed_within_a_line(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "", "")
    study, _ = make_study(workspace)
    study.tell(study.ask(), 1.0)
    with journal_file(tmp_path, RUN).open("ab") as journal:
        journal.write(b'{"op_code":4,"worker')
    again = load_study(workspace, study.study_name)
    again.tell(again.ask(), 2.0)
    assert [row.values for row in read_study(load_study(workspace, study.study_name)).trials] == [
        (1.0,),
        (2.0,),
    ]


def test_a_damaged_journal_names_itself_and_stops_no_other_study(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "", "")
    make_study(workspace)
    optuna.create_study(study_name="other/all", storage=open_storage(workspace, "other"))
    journal = journal_file(tmp_path, "other")
    journal.write_bytes(b'{"op_code":' + journal.read_bytes()[4:])
    names, (damage,) = find_studies(workspace)
    assert names == ["grid-0123abcd/teacher=vggt"]
    assert str(journal) in damage and "move it away" in damage
    assert load_study(workspace, names[0]).study_name == names[0]
    with pytest.raises(DataError, match="damaged"):
        load_study(workspace, "other/all")
