"""Annotation files: where they lie, the folder they are found in, and those of one split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from threedrs_components.benchmarks.annotations import Box
from threedrs_components.benchmarks.boxes import ObjectBoxes, boxes_by_id
from threedrs_components.benchmarks.label_map import LabelMap, read_label_map
from threedrs_components.record_files import read_values
from threedrs_components.scenes.boxes import read_box_lists
from threedrs_platform.config import PLACE, Config

Parsed = Sequence[tuple[Path, Any]]
"""Annotation files with their JSON values."""


@dataclass(frozen=True)
class AnnotationFiles:
    """The files of one split, found by folder or named one by one."""

    records: tuple[Path, ...]
    objects: ObjectBoxes | None = None
    proposals: Mapping[str, tuple[Box, ...]] | None = None
    """Scan2Cap: candidates for the prompt box; without them no box is chosen."""
    oracle: bool = False
    """Scan2Cap: the object's own box is the prompt box."""
    label_map: LabelMap | None = None
    parsed: Mapping[Path, Any] = field(default_factory=dict)
    """JSON values of files that have been read already."""

    def values(self) -> Parsed:
        """The annotation files with their JSON values."""
        return [
            (path, self.parsed[path] if path in self.parsed else read_values(path))
            for path in self.records
        ]


@dataclass(frozen=True)
class AnnotationFolder:
    """A folder with `annotations/`, `scenes/<scene>/boxes.json` and `proposals/<split>.json`."""

    root: Path
    box_file: Path | tuple[Path, ...] | None = None
    """scene -> boxes by object id, in place of the scenes' own files."""
    label_map: LabelMap | None = None
    """Decides unique / multiple where the annotations do not say it."""
    scene_proposals: Path | None = None
    """Folder of proposal files that is read where this one has none for a split."""
    scenes: Path | None = None
    """The scenes artifact: what was drawn with the scenes lies there."""
    oracle: bool = False
    """True boxes are the candidates."""
    needs_proposals: bool = True
    """False where predictions may bring boxes of their own; a split without proposals is then one
    whose captions nobody points at a box."""

    def annotations(self, name: str) -> Path:
        """Path of an annotation file: in `annotations/`, or in the folder itself."""
        inside = self.root / "annotations" / name
        beside = self.root / name
        return beside if beside.is_file() and not inside.is_file() else inside

    def objects(self) -> ObjectBoxes:
        """Boxes of the annotated objects."""
        if self.box_file is not None:
            files = (self.box_file,) if isinstance(self.box_file, Path) else self.box_file
            return ObjectBoxes(lists=read_box_lists(*files), source=", ".join(map(str, files)))
        return ObjectBoxes(scenes=self.root / "scenes")

    def proposals(self, split: str) -> dict[str, tuple[Box, ...]] | None:
        """Candidate boxes of each scene of a split; None if there are none and none are needed.

        Raises:
            AnnotationError: a file is missing or faulty.
        """
        own = self.root / "proposals" / f"{split}.json"
        others = () if self.scene_proposals is None else sorted(self.scene_proposals.glob("*.json"))
        if not own.exists() and not others and not self.needs_proposals:
            return None
        found = read_box_lists(*([own] if own.is_file() or not others else others))
        return {scene: tuple(boxes_by_id(boxes).values()) for scene, boxes in found.items()}


class AnnotationPlaces(Config):
    """Files and folders outside the scenes."""

    annotations: Annotated[str | None, PLACE] = None
    """Folder with `annotations/` and `proposals/`; the scenes' own folder if not given."""
    box_file: Annotated[str | tuple[str, ...] | None, PLACE] = None
    """Boxes of annotated objects (`scannet_train_gt_box.json` form), if the scenes hold none; one
    file, or several, e.g. those of train and val."""
    label_map: Annotated[str | None, PLACE] = None
    """`scannetv2-labels.combined.tsv`; decides unique / multiple where the annotations do not."""

    def named(self) -> Iterator[tuple[str, str]]:
        """Every setting that names a file or folder, with what it names."""
        for name, given in self:
            several = given if isinstance(given, tuple) else ()
            yield from ((f"benchmarks.{name}.{n}", path) for n, path in enumerate(several))
            if isinstance(given, str):
                yield f"benchmarks.{name}", given

    def box_files(self) -> tuple[str, ...]:
        """All files of boxes."""
        named = (self.box_file,) if isinstance(self.box_file, str) else self.box_file
        return tuple(path for path in named or () if path)

    def folder(self, scenes: Path, *, oracle: bool) -> AnnotationFolder:
        """The annotations for some scenes.

        Args:
            scenes: the folder of the scenes artifact; holds proposals, too.
            oracle: true boxes are the candidates.
        """
        return AnnotationFolder(
            root=Path(self.annotations) if self.annotations else scenes,
            box_file=tuple(map(Path, self.box_files())) or None,
            label_map=read_label_map(Path(self.label_map)) if self.label_map else None,
            scene_proposals=scenes / "proposals",
            scenes=scenes,
            oracle=oracle,
        )
