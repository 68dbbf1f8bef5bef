"""ScanRefer's annotations: one sample per description of an object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from threedrs_components.benchmarks.annotation_files import (
    AnnotationFiles,
    AnnotationFolder,
    Parsed,
)
from threedrs_components.benchmarks.annotations import parse_records, refuse_repeats
from threedrs_components.benchmarks.boxes import target_box
from threedrs_components.benchmarks.label_map import OTHERS, LabelMap, unique_or_multiple
from threedrs_components.benchmarks.llava_style import Conversation, Truth
from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.scanrefer.description import Description
from threedrs_components.benchmarks.wording import Wording, template
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Sample


class ScanReferLoader(Loader):
    """Reads ScanRefer."""

    kind: Literal["scanrefer"] = "scanrefer"
    prompt: Annotated[str, template("description")] = (
        "Identify the object according to the following description.\n{description}"
    )

    def locate(self, folder: AnnotationFolder, split: str) -> AnnotationFiles:
        """The split's file in a folder."""
        path = folder.annotations(f"ScanRefer_filtered_{split}.json")
        return AnnotationFiles((path,), folder.objects(), label_map=folder.label_map)

    def read(
        self, parsed: Parsed, files: AnnotationFiles, wording: Wording, split: str
    ) -> list[Sample]:
        """One sample per description.

        unique or multiple is as the file says, else by the label table, else by object names.
        """
        [(path, values)] = parsed
        records = parse_records(values, Description, path)
        refuse_repeats((record.key for record in records), path)
        label_map = files.label_map
        if label_map:
            _refuse_strange_names(records, label_map, path)
        types = unique_or_multiple(_described(records), label_map.nyu40_class if label_map else str)
        official = _official_tags(records, label_map) if label_map else [{} for _ in records]
        return [
            Sample(
                sample_id=f"{self.kind}_{record.key}",
                benchmark=self.kind,
                scene_id=record.scene_id,
                kind="ground",
                prompt=wording.render(
                    self.prompt, split, description=wording.describe(record.description)
                ),
                target_ids=(record.object_id,),
                target_boxes=(
                    target_box(
                        record.bbox, files.objects, record.scene_id, record.object_id, path, index
                    ),
                ),
                question_type=record.eval_type or types[index],
                tags=record.tags | official[index] | _how_typed(record, label_map),
            )
            for index, record in enumerate(records)
        ]

    def truth_of(self, record: Conversation) -> Truth:
        """The one box to find."""
        annotation, target = record.metadata.ann_id, record.metadata.object_id
        named = annotation is not None and isinstance(target, int)
        alias = f"{self.kind}_{record.video}_{target}_{annotation}" if named else ""
        return Truth(record.targets(several=False), grounding=True, alias=alias)


def _described(records: Sequence[Description]) -> list[tuple[str, str, str]]:
    return [(item.scene_id, str(item.object_id), item.object_name) for item in records]


def _official_tags(records: Sequence[Description], label_map: LabelMap) -> list[dict[str, str]]:
    kinds = unique_or_multiple(_described(records), label_map.official_class)
    return [
        {
            "official_type": kind,
            "official_others": str(label_map.official_class(record.object_name) == OTHERS),
        }
        for record, kind in zip(records, kinds, strict=True)
    ]


def _refuse_strange_names(records: Sequence[Description], label_map: LabelMap, path: Path) -> None:
    """A table that has none of the names is another data set's: every object would be "others"."""
    if not any(label_map.knows(record.object_name) for record in records):
        reason = (
            f"{records[0].object_name!r} is not in the label table, and neither is any other name "
            "of this file; is it scannetv2-labels.combined.tsv?"
        )
        raise AnnotationError(path, 0, "object_name", reason)


def _how_typed(record: Description, label_map: LabelMap | None) -> dict[str, str]:
    """A tag where unique / multiple does not come from a class of the label table."""
    if record.eval_type:
        return {}
    if label_map is None:
        return {"typed_by": "object name"}
    return {} if label_map.knows(record.object_name) else {"typed_by": "no class"}
