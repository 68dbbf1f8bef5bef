from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threedrs_components.teachers.registry import TEACHERS
from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.errors import ConfigError
from threedrs_workflows.grid.cells import expand, load_cells

HEAD = "version: 1\nname: test\nbase: {preset: micro}\n"


def faults(text: str, head: str = HEAD, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        expand(load_document(head + text, "g.yaml"), **options)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("text", "start", "part"),
    [
        ("matirx: {teacher: [vggt]}", "4:1: matirx", "did you mean 'matrix'?"),
        ("seeds: [0, 4294967296]", "4:12: seeds[1]", "at most 2147483647"),
        ("seeds: [-1]", "4:9: seeds[0]", "at least 0"),
        (
            "matrix: {teacher: [vggt, mae]}\n"
            "include: [{teacher: mae, training.steps: 3, label: teacher=mae}]",
            "5:52: include[0].label",
            "is the name of another cell",
        ),
        ("matrix: {techer: [vggt]}", "4:10: matrix.techer", "did you mean 'teacher'?"),
        ("matrix: {layers: [[1]]}", "4:10: matrix.layers", "did you mean 'alignment.layers' or"),
        ("matrix: {teacher: [mae, vgtt]}", "4:25: teacher", "did you mean 'vggt'?"),
        ("matrix: {training.steps: [ten]}", "4:27: training.steps", "expected a whole number"),
        ("matrix: {teacher: vggt}", "4:19: matrix.teacher", "expected several values as [a, b]"),
        ("matrix: {teacher: []}", "4:19: matrix.teacher", "list at least one"),
        ("matrix: {teacher: [mae, mae]}", "4:25: matrix.teacher[1]", '"mae" is listed twice'),
        ("matrix: {training.steps: {range: [1, 2]}}", "4:34: matrix", "[first, last, step]"),
        ("matrix: {training.steps: {range: [1, 9, 0]}}", "4:34: matrix", "never leads"),
        ("matrix: {training.steps: {range: [9, 1, 1]}}", "4:34: matrix", "never leads"),
        ("matrix: {training.steps: {range: [1, 1e9, 1]}}", "4:34: matrix", "may have 10000"),
        ("matrix: {seed: [1, 2]}", "4:10: matrix.seed", "list them under `seeds:`"),
        ("matrix: {training.workers: [1, 2]}", "4:10: training.workers", "not which"),
        ("matrix: {students.llava.kind: [llava_vido]}", "4:32: students.llava.kind", "llava_video"),
        (
            "zip: {a: {teacher: [mae, vggt], text.weight: [1.0]}}",
            "4:10: zip.a",
            "teacher has 2, text.weight has 1",
        ),
        (
            "matrix: {teacher: [mae, vggt]}\nzip: {a: {teacher: [mae, vggt]}}",
            "5:11: zip.a.teacher",
            "teacher is set by two dimensions (also in line 4)",
        ),
        (
            "zip: {a: {training.clip: [1.0, 2.0]}, b: {training.clip: [3.0, 4.0]}}",
            "4:43: zip.b.training.clip",
            "set by two dimensions",
        ),
        ("ablate: {factors: {teacher: [vgt]}}", "4:30: teacher", "did you mean 'vggt'?"),
        (
            "ablate: {factors: {teacher: [mae]}, pairs: [[teachr, teacher]]}",
            "4:45: ablate.pairs[0]",
            "did you mean 'teacher'?",
        ),
        (
            "ablate: {factors: {teacher: [mae]}, pairs: [[teacher, teacher]]}",
            "4:45: ablate.pairs[0]",
            "two different factors",
        ),
        ("ablate: {factors: {teacher: [none]}}", "4:20: teacher", "has no effect"),
        (
            "matrix: {teacher: [mae, vggt]}\nexclude: [{teacher: vgt}]",
            "5:21: exclude[0].teacher",
            "no cell has teacher = \"vgt\"; did you mean 'vggt'?",
        ),
        (
            "matrix: {teacher: [mae, vggt]}\nexclude: [{teacher: [mae, vgt]}]",
            "5:27: exclude[0].teacher[1]",
            "did you mean 'vggt'?",
        ),
        (
            "matrix: {teacher: [mae, vggt]}\nexclude: [{where: 'text.weight > 1'}]",
            "5:11: exclude[0]",
            "matches no cell",
        ),
        ("exclude: [{where: 'teachr == 1'}]", "4:20: exclude[0].where", "did you mean 'teacher'?"),
        ("exclude: [{where: \"teacher == 'x' or a.b\"}]", "4:38: exclude[0].where", "'a.b'"),
        ("exclude: [{where: teacher < 3}]", "4:19: exclude[0].where", "have no order"),
        ("exclude: [{where: 3}]", "4:19: exclude[0].where", "expected an expression as text"),
        ("exclude: [{reason: why}]", "4:11: exclude[0]", "needs a setting to match, or `where`"),
        ("exclude: [{teacher: none}]", "", "no cell is left"),
        ("exclude: [{teachr: none}]", "4:12: exclude[0].teachr", "did you mean 'teacher'?"),
        ("include: [{studnet: blind}]", "4:12: include[0].studnet", "did you mean 'student'?"),
        ("include: [{student: blnd}]", "4:21: student", "did you mean 'blind'?"),
        ("include: [{label: 3}]", "4:19: include[0].label", "expected text"),
        (
            "include: [{label: a}, {label: b}]",
            "4:31: include[1].label",
            "already called 'a'",
        ),
        (
            "include: [{label: a}, {teacher: vggt, label: a}]",
            "4:46: include[1].label",
            "used for two cells",
        ),
        (
            "override: [{match: {teacher: mae}, set: {text.weight: 2.0}}]",
            "4:30: override[0].match.teacher",
            'no cell has teacher = "mae"',
        ),
        ("override: [{match: {teacher: none}}]", "4:12: override[0].set", "missing"),
        (
            "override: [{match: {teacher: none}, set: {text.wight: 2.0}}]",
            "4:43: override[0].set.text.wight",
            "did you mean 'text.weight'?",
        ),
        (
            "override: [{where: 'true', set: {steps.finetune.gpu: 1}}]",
            "4:34: override[0].set.steps.finetune.gpu",
            "did you mean 'gpus'?",
        ),
        (
            "override: [{where: 'true', set: {steps.finetune.gpus: many}}]",
            "4:55: override[0].set.steps.finetune.gpus",
            "expected a number",
        ),
        (
            "override: [{where: 'true', set: {steps.finetun.gpus: 1}}]",
            "4:34: override[0]",
            "did you mean 'finetune'?",
        ),
        (
            "irrelevant: [{where: \"teacher == 'mae'\", keys: [text.weight]}]",
            "4:14: irrelevant[0]",
            "matches no cell",
        ),
        (
            "irrelevant: [{where: 'true', keys: [text.wight]}]",
            "4:37: irrelevant[0].keys[0]",
            "did you mean 'text.weight'?",
        ),
        ("steps: {finetun: {cpus: 1}}", "4:9: steps.finetun", "did you mean 'finetune'?"),
        ("steps: {finetune: {cpu: 1}}", "4:20: steps.finetune.cpu", "did you mean 'cpus'?"),
        ("seeds: [1, 1]", "4:8: seeds", "seed 1 is listed twice"),
        ("seeds: []", "4:8: seeds", "at least 1 item"),
        ("seeds: [-1]", "4:9: seeds[0]", "at least 0"),
        ("report: {compare_to: vgt}", "4:22: report.compare_to", "no cell is called 'vgt'"),
        (
            "matrix: {teacher: [mae]}\nreport: {compare_to: base}",
            "5:22: report.compare_to",
            "include: [{label: base}]",
        ),
        ("env: {NOT_SET_ANYWHERE: null}", "4:7: env.NOT_SET_ANYWHERE", "is not set"),
        ("include: [{student: '${WHO}'}]", "4:21: include[0].student", "declare the variable"),
        ("base2: 1", "4:1: base2", "did you mean 'base'?"),
    ],
)
def test_every_mistake_has_its_place_and_a_cure(text: str, start: str, part: str) -> None:
    matching = [fault for fault in faults(text) if part in fault]
    assert len(matching) == 1, faults(text)
    assert matching[0].startswith(f"g.yaml:{start}")


@pytest.mark.parametrize(
    ("head", "start", "part"),
    [
        ("name: x\nbase: {preset: micro}\n", "1:1: version", "expected version: 1"),
        ("version: 2\nname: x\nbase: {preset: micro}\n", "1:10: version", "got 2"),
        ("verson: 1\nname: x\nbase: {preset: micro}\n", "1:1: version", "expected version: 1"),
        ("version: 1\nname: A B\nbase: {preset: micro}\n", "2:7: name", "lower-case letters"),
        ("version: 1\nname: x\n", "1:1: base", "missing"),
        ("version: 1\nname: x\nbase: {}\n", "3:7: students", "students: missing"),
        ("version: 1\nname: x\nbase: {preset: mikro}\n", "3:16: base.preset", "'micro'?"),
        ("version: 1\nname: x\nbase: {preset: [micro]}\n", "3:16: base.preset", "the name of"),
        ("version: 1\nname: x\nbase: {preset: no.yaml}\n", "3:16: base.preset", "does not exist"),
        (
            "version: 1\nname: x\nbase: {preset: micro, techer: x}\n",
            "3:23: base.techer",
            "'teacher'",
        ),
        (
            "version: 1\nname: x\nbase: {preset: micro, teachers.vgt.layer: 1}\n",
            "3:23: base.teachers.vgt.layer",
            "'teachers.vggt.layer'",
        ),
        (
            "version: 1\nname: x\nbase: {preset: micro, training: {stps: 1}}\n",
            "3:34: training.stps",
            "'steps'",
        ),
        (
            "version: 1\nname: x\nbase: {preset: micro, teachers: {a: {kind: vgg}}}\n",
            "3:44: teachers.a.kind",
            f"known kinds: {', '.join(sorted(TEACHERS))}",
        ),
        (
            "version: 1\nname: x\nbase: {preset: micro, text.weight: 1.0, text: {weight: 2.0}}\n",
            "3:48: base.text.weight",
            "set twice (first in line 3)",
        ),
    ],
)
def test_mistakes_in_the_head(head: str, start: str, part: str) -> None:
    matching = [fault for fault in faults("", head) if part in fault]
    assert len(matching) == 1, faults("", head)
    assert matching[0].startswith(f"g.yaml:{start}")


def test_all_mistakes_of_a_file_are_listed_at_once_in_order_of_lines() -> None:
    found = faults(
        "matrix:\n"
        "  teacher: [mae, vgtt]\n"
        "  training.steps: [1, many]\n"
        "  alignmnt.loss: [cosine]\n"
        "include:\n"
        "  - {studnt: blind}\n"
        "override:\n"
        "  - {match: {teacher: mae}, set: {training.clip: -1}}\n"
        "seed: [1]\n"
    )
    assert [int(fault.split(":")[1]) for fault in found] == [5, 6, 7, 9, 11, 12]


def test_a_fault_in_a_value_is_reported_once_however_many_cells_it_is_in() -> None:
    found = faults("matrix: {training.steps: [many], text.weight: [1.0, 2.0, 3.0]}")
    assert found == ['g.yaml:4:27: training.steps: expected a whole number, got "many"']


def test_faults_elsewhere_do_not_make_rules_look_dangling() -> None:
    found = faults("matrix: {techer: [mae, vggt]}\nexclude: [{teacher: mae}]")
    assert len(found) == 1


def test_combinations_that_are_excluded_need_not_be_valid() -> None:
    text = """
matrix: {student: [llava, blind], teacher: [none, vggt]}
exclude: [{student: blind, teacher: vggt, reason: nothing to align}]
"""
    assert len(expand(load_document(HEAD + text)).cells) == 3
    found = faults(text.replace("student: blind, teacher: vggt", "student: blind, teacher: none"))
    assert "a blind student has no visual tokens to align" in found[0]


@pytest.mark.parametrize(
    "rule",
    [
        "exclude: [{teacher: mae, allow_empty: true}]",
        "override: [{match: {teacher: mae}, set: {text.weight: 2.0}, allow_empty: true}]",
        "irrelevant: [{match: {teacher: mae}, keys: [text.weight], allow_empty: true}]",
    ],
)
def test_allow_empty_permits_rules_without_cells(rule: str) -> None:
    assert len(expand(load_document(HEAD + rule)).cells) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"sets": ["techer=vggt"]},
            "--set techer=vggt: techer: no setting 'techer'; did you mean 'teacher'?",
        ),
        ({"sets": ["teacher"]}, "--set teacher: expected KEY=VALUE or KEY=VALUE,VALUE"),
        ({"sets": ["teacher=vgtt"]}, "--set teacher=vgtt: teacher: no teacher 'vgtt'"),
        ({"sets": ["training.steps=010"]}, "--set training.steps=010: training.steps: 010 is no"),
        ({"sets": ["seeds=a"]}, "--set seeds=a: seeds: expected whole numbers"),
        ({"where": "techer == 'x'"}, "--where:1: techer == 'x': unknown name 'techer'"),
        (
            {"where": "teacher == 'x'"},
            "--where: teacher == 'x': holds for none of the 1 cells; here teacher is 'none'",
        ),
    ],
)
def test_mistakes_in_flags_name_the_flag(options: dict[str, Any], expected: str) -> None:
    (found,) = faults("", **options)
    assert found.startswith(expected)


def test_set_does_not_break_a_zip_apart() -> None:
    (found,) = faults("zip: {a: {teacher: [mae, vggt]}}", sets=["teacher=mae,vggt"])
    assert "teacher belongs to the zip 'a'" in found


def test_smoke_without_a_preset_is_refused(tmp_path: Path) -> None:
    whole = "{scenes: {kind: micro}, students: {s: {kind: llava_video}}, student: s}"
    head = f"version: 1\nname: test\nbase: {whole}\n"
    assert len(expand(load_document(head)).cells) == 1
    assert "--smoke needs a preset" in faults("", head, smoke=True)[0]


def test_presets_beside_the_grid_are_found_and_their_faults_placed(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "scenes: {kind: mikro}\nstudents: {s: {kind: llava_video}}\n"
    )
    path = tmp_path / "grid.yaml"
    path.write_text("version: 1\nname: test\nbase: {preset: mine.yaml, student: s}\n")
    with pytest.raises(ConfigError) as caught:
        load_cells(path)
    (fault,) = caught.value.faults
    assert str(fault).startswith(f"{tmp_path}/mine.yaml:1:16: scenes.kind: unknown kind 'mikro'")


words = "matrix zip exclude teacher vggt [ ] { } : , where ' 1 1e-4 range include label seeds env"
fragments = st.sampled_from([*words.split(), ": ", "\n", "\n  ", "- ", "${X}", "steps"])


@settings(max_examples=70, deadline=None)
@given(st.lists(fragments, max_size=25).map("".join))
def test_random_grids_expand_or_are_refused_but_never_crash(text: str) -> None:
    try:
        assert expand(load_document(HEAD + text)).cells
    except ConfigError as error:
        assert error.faults


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["vggt", "teacher", "x", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["teacher", "where", "match", "set", "values", "range"]), inner
        )
    ),
    max_leaves=6,
)
sections = (
    "base seeds matrix zip ablate exclude include override irrelevant env limits report steps"
)


@settings(max_examples=70, deadline=None)
@given(st.dictionaries(st.sampled_from(sections.split()), json_values, max_size=4))
def test_sections_of_any_form_are_read_or_refused(data: dict[str, Any]) -> None:
    import json

    head = {"version": 1, "name": "x", "base": {"preset": "micro"}}
    try:
        assert expand(load_document(json.dumps({**head, **data}))).cells
    except ConfigError as error:
        assert error.faults


def test_a_base_without_preset_is_told_to_take_one() -> None:
    found = faults("", "version: 1\nname: t\nbase: {training.steps: 5}\n")
    assert any("3:7: base: no preset" in fault and "{preset: micro}" in fault for fault in found)


@pytest.mark.parametrize(
    ("base", "start"),
    [
        ("{preset: micro, alignment.layers: [17]}", "g.yaml:3:42: alignment: layer 17"),
        ("{preset: micro, scenes.text: 9999999}", "g.yaml:3:36: scenes: text"),
    ],
)
def test_a_clash_with_the_preset_is_placed_in_the_grid(base: str, start: str) -> None:
    (found,) = faults("", f"version: 1\nname: t\nbase: {base}\n")
    assert found.startswith(start)


def test_another_version_is_no_misspelling() -> None:
    assert faults("", "version: 2\nname: t\n") == [
        "g.yaml:1:10: version: expected version: 1, got 2"
    ]


def test_a_name_that_no_file_could_carry_is_refused() -> None:
    (found,) = faults("", f"version: 1\nname: {'a' * 300}\nbase: {{preset: micro}}\n")
    assert "300 letters" in found


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: longer than"):
        load_document(Path("/dev/zero"))


def test_a_fault_of_a_section_that_no_preset_names_is_placed_where_it_is_written() -> None:
    text = "version: 1\nname: x\nbase:\n  preset: micro\n  probe.layer: 17\n"
    with pytest.raises(ConfigError) as caught:
        expand(load_document(text, "grid.yaml"))
    assert "grid.yaml:5" in str(caught.value)


def test_one_seed_of_the_base_is_no_seed_of_the_grid() -> None:
    (found,) = faults("", "version: 1\nname: t\nbase: {preset: micro, seed: 3}\n")
    assert found.startswith("g.yaml:3:23: base.seed: seeds are replicates")
    (found,) = faults("", sets=("seed=3",))
    assert (
        found == "--set seed=3: seeds are replicates: list them under `seeds:`, or --set seeds=1,2"
    )
