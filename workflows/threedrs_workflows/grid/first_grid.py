"""A first grid file for the scenes one has: what lies in a folder, and the text that fits it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from threedrs_components.benchmarks.annotation_files import AnnotationFolder
from threedrs_components.benchmarks.vsibench.loader import VSIBenchLoader
from threedrs_components.benchmarks.vsibench.scorer import SOURCES
from threedrs_components.scenes.folder_styles import STYLES, find_style
from threedrs_components.scenes.scene_folders import scene_folders
from threedrs_components.scenes.splits import SPLITS_FILE, read_splits
from threedrs_components.scenes.videos.reader import VIDEOS as VIDEO_SUFFIXES
from threedrs_platform.errors import DataError
from threedrs_workflows.grid.first_grid_texts import MICRO, RGBD, SCANNET, VIDEOS

NEEDED_SPLITS = ("text", "probe", "val")
"""To train on, to fit the position probe on, and to evaluate."""
BENCHMARKS = ("scanrefer", "scanqa")
"""Those of the text for folders of scenes, by the beginning of their annotations' names."""


@dataclass(frozen=True)
class FirstGrid:
    """A grid for what was found."""

    found: str
    """What lies there, in words."""
    text: str
    """The file; its placeholders filled in."""
    before: tuple[str, ...] = ()
    """What must be done before it can be submitted, a sentence or command each."""
    then: tuple[str, ...] = field(default=("plan", "submit"))
    """Verbs that follow `validate`."""


def first_grid(name: str, scenes: Path | None, annotations: Path | None = None) -> FirstGrid:
    """The grid for a folder; for the rendered rooms of the micro world where there is none.

    Args:
        name: of the grid.
        scenes: a folder of posed RGB-D scenes, ScanNet as downloaded or as prepared, or clips.
        annotations: folder of the benchmarks' files; by default where the scenes are.

    Raises:
        DataError: there is no such folder, or nothing in it is understood; says what would be.
    """
    if annotations is not None and not annotations.is_dir():
        raise DataError(f"{annotations}: no such folder; --annotations names one that holds files")
    if scenes is None:
        _refuse(annotations, "the micro world makes its own questions")
        return FirstGrid(
            "no scenes given: the rendered rooms of the micro world", _fill(MICRO, name)
        )
    if not scenes.is_dir():
        wrong = "is no folder" if scenes.exists() else "there is no such folder"
        raise DataError(f"{scenes}: {wrong}; --scenes names one that holds scenes")
    root = scenes.resolve()
    if (root / "scannet" / "posed_images").is_dir():
        _refuse(annotations, _SCANNET_READS)
        return FirstGrid("ScanNet, prepared", _fill(SCANNET, name, DATA=root), _wanted_data(root))
    if any(root.glob("scans/*/*.sens")):
        _refuse(annotations, _SCANNET_READS)
        return _downloaded(name, root)
    if find_style(root) is not None:
        raise DataError(_one_scene(root))
    # First: a room may lie beside a video of it.
    if found := scene_folders(root):
        return _rgbd(name, root, found, annotations)
    if clips := _clips(root):
        return _videos(name, root, clips, annotations)
    raise DataError(_not_understood(root))


_SCANNET_READS = "grids of ScanNet read DATA/annotations, which `workflows data check` judges"


def _refuse(annotations: Path | None, why: str) -> None:
    if annotations is not None:
        raise DataError(f"{annotations}: --annotations has no effect here: {why}; leave it out")


def _downloaded(name: str, root: Path) -> FirstGrid:
    data = root.parent / f"{root.name}-prepared"
    count = len({path.parent for path in root.glob("scans/*/*.sens")})
    convert = f"workflows prepare scannet --root {quote(str(root))} --out {quote(str(data))}"
    text = _fill(SCANNET, name, DATA=data)
    return FirstGrid(
        f"ScanNet as downloaded, {_counted(count, 'scene')}", text, (convert, *_wanted_data(data))
    )


def _wanted_data(data: Path) -> tuple[str, ...]:
    check = f"workflows data check {quote(str(data))}"
    return (f"{check}    # names the annotations and weights that are missing",)


def _videos(name: str, root: Path, clips: Mapping[str, int], annotations: Path | None) -> FirstGrid:
    """Clips that questions are about: VSI-Bench's, or any where there are questions of one's own.

    Raises:
        DataError: no question can be about the clips that are here.
    """
    asked = annotations.resolve() if annotations else root
    (questions,) = VSIBenchLoader().locate(AnnotationFolder(asked), "test").records
    if not questions.is_file() and not clips.keys() & {*SOURCES}:
        first, count = next(iter(clips.items()))
        raise DataError(
            f"{root}: {_counted(count, 'clip')} in {first}/, and no questions about "
            f"{'it' if count == 1 else 'them'}: VSI-Bench asks about clips in "
            f"{', '.join(f'{each}/' for each in SOURCES)}; for clips of your own let "
            "--annotations name a folder with questions in its form (test.jsonl), or let --scenes "
            "name the folder that holds scenes"
        )
    beside = str(asked) if annotations else "${CLIPS}"
    text = _fill(VIDEOS, name, CLIPS=root, ANNOTATIONS=beside)
    before = ["pip install -e '.[video]'    # reads clips"]
    if not questions.is_file():
        before.append(
            f"lay VSI-Bench's questions, test.jsonl or test.parquet, into {asked}: "
            "huggingface.co/datasets/nyu-visionx/VSI-Bench"
        )
    before.append("lay the weights of LLaVA-Video-7B-Qwen2 under DATA/models: workflows data")
    return FirstGrid(_counted(sum(clips.values()), "clip"), text, tuple(before))


def _rgbd(name: str, root: Path, scenes: Sequence[Path], annotations: Path | None) -> FirstGrid:
    files = annotations.resolve() if annotations else root
    asked = _benchmarks(files)
    text = _fill(
        RGBD,
        name,
        SCENES=root,
        ANNOTATIONS=files,
        BENCHMARKS=", ".join(asked or ("scanqa",)),
    )
    before = []
    if not asked:
        before.append(f"write annotations to learn and to ask into {files}/annotations")
    if missing := [each for each in NEEDED_SPLITS if each not in read_splits(root)]:
        names = ", ".join(f'"{path.name}"' for path in scenes[:2])
        before.append(
            f"write {root / SPLITS_FILE}, which lists scenes by split and lacks "
            f'{", ".join(missing)}: {{"text": [{names}], "probe": [...], "val": [...]}}'
        )
    before.append("lay the weights of student and teacher under DATA/models: workflows data")
    return FirstGrid(f"{_counted(len(scenes), 'posed RGB-D scene')}", text, tuple(before))


def _benchmarks(files: Path) -> tuple[str, ...]:
    """Those whose annotations lie there."""
    folders = (files / "annotations", files)
    names = [path.name.lower() for folder in folders for path in folder.glob("*.json*")]
    return tuple(each for each in BENCHMARKS if any(name.startswith(each) for name in names))


def _clips(root: Path) -> dict[str, int]:
    """How many clips lie in each folder that holds some."""
    found = Counter(
        path.parent.name
        for path in root.glob("*/*.*")
        if path.suffix.lower() in VIDEO_SUFFIXES and path.name[0] != "." and path.is_file()
    )
    return dict(sorted(found.items()))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _one_scene(root: Path) -> str:
    """What to give in place of a scene, in which nothing of a grid's is to be written."""
    holds = root.parent.parent if root.parent.name == "scenes" else root.parent
    return (
        f"{root}: is one scene, and a grid trains on some and evaluates others; give the folder "
        f"that holds them: --scenes {quote(str(holds))} (`workflows probe --scenes "
        f"{quote(str(root))}` reads one alone)"
    )


def _not_understood(root: Path) -> str:
    styles = "\n".join(f"  {each.name}: {each.example}" for each in STYLES)
    return (
        f"{root}: nothing here is understood. Looked for\n"
        "  ScanNet as downloaded: scans/SCENE/SCENE.sens; as prepared: scannet/posed_images/\n"
        "  clips: DATASET/SCENE.mp4\n"
        f"and, in it, in its folders or in those of scenes/, posed RGB-D frames:\n{styles}"
    )


def _fill(text: str, name: str, **values: object) -> str:
    """The text with `@KEY@` filled in, as it stands between double quotes in YAML."""
    for key, value in {"NAME": name, **values}.items():
        quoted = str(value).replace("\\", "\\\\").replace('"', '\\"')
        text = text.replace(f"@{key}@", quoted)
    return text
