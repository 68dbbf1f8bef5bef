"""Which jobs a run gets, and what their scripts say."""

import shlex
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from threedrs_platform.database.runs import Submission
from threedrs_platform.errors import ConfigError
from threedrs_platform.steps import Resources, StepSpec
from threedrs_platform.testing.fake_cells import fake_cell, fake_step
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli.work import seconds_of
from threedrs_workflows.grid.slurm_section import SlurmSettings
from threedrs_workflows.plan.submission import plan_cells, record
from threedrs_workflows.slurm import commands
from threedrs_workflows.slurm.commands import QueuedJob, counts, parse_queue
from threedrs_workflows.slurm.groups import Group, Needs, groups_of
from threedrs_workflows.slurm.jobs import Asked, read_options, submit_jobs
from threedrs_workflows.slurm.scripts import Place, script_of


def step(kind: str, number: int = 0, **resources: float) -> StepSpec:
    return fake_step("noop", {"n": number}, Resources(**resources), kind)  # type: ignore[arg-type]


def place(folder: Path, run: str = "demo-1") -> Place:
    return Place(run, folder / "workspace", folder)


TRAINING = Group(("finetune",), Needs(8, 8, 64), SlurmSettings(partition="gpu", time="4:00:00"), 3)


def test_kinds_that_need_the_same_machine_share_an_array() -> None:
    steps = [step("prepare"), step("score"), step("finetune", gpus=8, cpus=16)]
    light, heavy = groups_of(steps, {})
    assert light.kinds == ("prepare", "score") and light.jobs == 2
    assert heavy.needs == Needs(16, 8, 0) and heavy.jobs == 1


def test_a_kind_has_one_array_for_the_largest_of_its_steps() -> None:
    (group,) = groups_of([step("finetune", 1, gpus=2), step("finetune", 2, gpus=4)], {})
    assert group.needs.gpus == 4 and group.steps == 2


def test_steps_of_one_kind_on_other_numbers_of_nodes_have_arrays_of_their_own(
    tmp_path: Path,
) -> None:
    alone = step("finetune", 1, gpus=1)
    spread = [step("finetune", n, gpus=8, workers=8, nodes=2) for n in (2, 3)]
    one, two = groups_of([alone, *spread], {})
    assert (one.needs, one.steps) == (Needs(1, 1, 0), 1)
    assert (two.needs, two.steps) == (Needs(1, 4, 0, 2), 2)
    assert "--min-nodes=2" in script_of(two, place(tmp_path))


def test_kinds_with_settings_of_their_own_have_arrays_of_their_own() -> None:
    chosen = {"score": SlurmSettings(partition="short")}
    groups = groups_of([step("prepare"), step("score")], chosen)
    assert {group.kinds: group.settings.partition for group in groups} == {
        ("prepare",): None,
        ("score",): "short",
    }


def test_no_array_is_larger_than_its_limits() -> None:
    steps = [step("score", number) for number in range(50)]
    assert groups_of(steps, {})[0].jobs == 32
    assert groups_of(steps, {"score": SlurmSettings(max_jobs=4)})[0].jobs == 4
    assert groups_of(steps, {}, most_jobs=2)[0].jobs == 2


def test_a_script_asks_for_what_its_steps_take(tmp_path: Path) -> None:
    lines = script_of(TRAINING, place(tmp_path), ["--account=me"]).splitlines()
    for wanted in ("array=0-2", "gres=gpu:8", "mem=64G", "partition=gpu", "time=4:00:00"):
        assert f"#SBATCH --{wanted}" in lines
    assert lines.index("#SBATCH --account=me") > lines.index("#SBATCH --partition=gpu")
    worker = next(line for line in lines if " work demo-1 " in line)
    assert "--kinds=finetune --gpus=8 --max-idle=60 &" in worker


def test_a_step_of_several_nodes_has_a_worker_on_each(tmp_path: Path) -> None:
    steps = [step("finetune", gpus=16, cpus=16, memory_gib=100, nodes=2)]
    (group,) = groups_of(steps, {})
    assert group.needs == Needs(8, 8, 50, 2)
    script = script_of(group, place(tmp_path))
    lines = script.splitlines()
    for wanted in ("nodes=2", "ntasks=2", "ntasks-per-node=1", "gres=gpu:8", "mem=50G"):
        assert f"#SBATCH --{wanted}" in lines
    (worker,) = [line for line in lines if " work demo-1 " in line]
    assert worker.startswith("srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=8 ")
    assert "--kinds=finetune --gpus=16 " in worker and worker.endswith(" --group --min-nodes=2 &")
    assert "trap 'scancel --signal=TERM \"$SLURM_JOB_ID.0\"' TERM" in lines, "srun would kill"
    alone = script_of(TRAINING, place(tmp_path))
    assert "srun" not in alone and "--group" not in alone and "kill -TERM" in alone


def test_settings_of_the_grid_name_other_kinds_of_gpu(tmp_path: Path) -> None:
    group = Group(("finetune",), Needs(8, 8, 0), SlurmSettings(gres="gpu:h100:8"), 1)
    assert "#SBATCH --gres=gpu:h100:8\n" in script_of(group, place(tmp_path))


@pytest.mark.parametrize("name", ["a b", "$(touch hit)", "it's", "a;touch hit", "`touch hit`"])
def test_no_path_becomes_a_command(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    script = folder / "job.sbatch"
    script.write_text(script_of(TRAINING, place(folder)))
    words = [shlex.split(line) for line in script.read_text().splitlines() if "work demo-1" in line]
    assert str(folder / "workspace") in words[-1]
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, check=False)
    assert done.returncode == 0 and not (folder / "hit").exists()


@pytest.mark.parametrize("name", ["50%", 'a"b', "line\nend"])
def test_a_path_that_slurm_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="Slurm takes no log file"):
        script_of(TRAINING, place(tmp_path / name))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("partition", "gpu\n#SBATCH --uid=0"),
        ("partition", "gpu debug"),
        ("time", "tomorrow"),
        ("extra", ["touch hit"]),
        ("extra", ["--mail-user=me\nrm"]),
        ("extra", ["--array=0-9"]),
        ("partitoin", "gpu"),
    ],
)
def test_what_is_no_option_of_a_job_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        SlurmSettings.model_validate({field: value})


def test_options_of_the_command_line_are_checked() -> None:
    assert read_options("--account=me '--comment=a b'") == ("--account=me", "--comment=a b")
    for wrong in ("account=me", "--output=/etc/passwd", "--a='"):
        with pytest.raises(ConfigError, match="--slurm-options"):
            read_options(wrong)


def test_the_queue_is_read_as_squeue_prints_it() -> None:
    text = "12_0|RUNNING|None\n12_1|PENDING|Resources\n12_2|PENDING|AssocGrp|Cpu\n"
    jobs = parse_queue(text)
    assert jobs[1] == QueuedJob("12_1", "PENDING", "Resources")
    assert counts(jobs) == {"pending": 2, "running": 1}


@pytest.mark.parametrize(
    ("state", "reason", "asked", "submitted"),
    [
        ("PENDING", "Resources", Asked(), 1),
        ("RUNNING", "None", Asked(), 1),
        ("COMPLETING", "None", Asked(), 2),
        ("PENDING", "JobHeldUser", Asked(), 2),
        ("PENDING", "launch failed requeued held", Asked(), 2),
        ("RUNNING", "None", Asked(("--partition=other",)), 2),
        ("RUNNING", "None", Asked(most_jobs=4), 2),
    ],
)
def test_who_goes_on_gets_no_second_job_unless_other_jobs_are_asked_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    reason: str,
    asked: Asked,
    submitted: int,
) -> None:
    scripts: list[Path] = []

    def submit(script: Path, _: object) -> str:
        scripts.append(script)
        return "7"

    monkeypatch.setattr(commands, "submit", submit)
    monkeypatch.setattr(commands, "queue", lambda _: [QueuedJob("7_0", state, reason)])
    with find_workspace(str(tmp_path), environment={}) as workspace:
        plan = plan_cells(workspace, [fake_cell("cell", {"only": fake_step("measure")})])
        run = record(workspace, Submission("demo", "demo.yaml", "", {}), plan)
        submit_jobs(workspace, workspace.runs.get(run), plan, Asked())
        submit_jobs(workspace, workspace.runs.get(run), plan, asked)
    assert len(scripts) == submitted


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("3:50:00", 13800), ("10:30", 630), ("1-0:0:5", 86405), ("soon", None)],
)
def test_times_are_written_as_slurm_writes_them(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds
