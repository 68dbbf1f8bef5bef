"""Multi3DRefer's annotations: one sample per description of no, one or several objects."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from threedrs_components.benchmarks.annotation_files import (
    AnnotationFiles,
    AnnotationFolder,
    Parsed,
)
from threedrs_components.benchmarks.annotations import (
    Identifier,
    Record,
    SceneId,
    parse_records,
    refuse_repeats,
)
from threedrs_components.benchmarks.boxes import target_box
from threedrs_components.benchmarks.llava_style import Conversation, Truth
from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.wording import Wording, template
from threedrs_platform.records import Sample

EvalType = Literal["zt_wo_d", "zt_w_d", "st_wo_d", "st_w_d", "mt"]
"""Zero, single or multiple targets, without or with distractors."""
TYPES: tuple[EvalType, ...] = get_args(EvalType)


class Query(Record):
    """One record of `multi3drefer_<split>.json`."""

    scene_id: SceneId
    object_ids: list[int]
    ann_id: Identifier
    description: str
    eval_type: EvalType
    object_name: str = ""
    task: str | None = None

    @property
    def key(self) -> str:
        """Unique within the split."""
        objects = "-".join(str(number) for number in self.object_ids) or "none"
        return f"{self.scene_id}_{objects}_{self.ann_id}"


class Multi3DReferLoader(Loader):
    """Reads Multi3DRefer."""

    kind: Literal["multi3drefer"] = "multi3drefer"
    prompt: Annotated[str, template("description")] = (
        "Identify the object according to the following description.\n{description}\n"
        "There may be no corresponding object, or there may be one or more objects."
    )

    def locate(self, folder: AnnotationFolder, split: str) -> AnnotationFiles:
        """The split's file in a folder."""
        return AnnotationFiles(
            (folder.annotations(f"multi3drefer_{split}.json"),), folder.objects()
        )

    def read(
        self, parsed: Parsed, files: AnnotationFiles, wording: Wording, split: str
    ) -> list[Sample]:
        """One sample per description."""
        [(path, values)] = parsed
        records = parse_records(values, Query, path)
        refuse_repeats((f"{self.kind}_{record.key}" for record in records), path)
        return [
            Sample(
                sample_id=f"{self.kind}_{record.key}",
                benchmark=self.kind,
                scene_id=record.scene_id,
                kind="ground",
                prompt=wording.render(
                    self.prompt, split, description=wording.describe(record.description)
                ),
                target_ids=tuple(record.object_ids),
                target_boxes=tuple(
                    target_box(None, files.objects, record.scene_id, number, path, index)
                    for number in record.object_ids
                ),
                question_type=record.eval_type,
                tags={
                    "ann_id": record.ann_id,
                    "alias": self._alias(record.scene_id, record.ann_id),
                    "object_name": record.object_name,
                    **({"task": record.task} if record.task else {}),
                },
            )
            for index, record in enumerate(records)
        ]

    def truth_of(self, record: Conversation) -> Truth:
        """The list of boxes to find."""
        annotation = record.metadata.ann_id
        alias = "" if annotation is None else self._alias(record.video, annotation)
        return Truth(record.targets(several=True), grounding=True, alias=alias)

    def _alias(self, scene_id: str, annotation: str) -> str:
        return f"{self.kind}_{scene_id}_{annotation}"
