"""Scan2Cap's annotations: one sample per described object, to train on one per description."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Literal

from threedrs_components.benchmarks.annotation_files import (
    AnnotationFiles,
    AnnotationFolder,
    Parsed,
)
from threedrs_components.benchmarks.annotations import Box, parse_records, refuse_repeats
from threedrs_components.benchmarks.boxes import target_box
from threedrs_components.benchmarks.llava_style import Conversation, Truth
from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.scan2cap.prompt_box import prompt_box
from threedrs_components.benchmarks.scanrefer.description import Description
from threedrs_components.benchmarks.wording import Wording, template
from threedrs_platform.records import Sample

Located = tuple[Description, Box | None]
"""A description, and the box of its object where that is known."""


class Scan2CapLoader(Loader):
    """Reads Scan2Cap."""

    kind: Literal["scan2cap"] = "scan2cap"
    prompt: Annotated[str, template(pointers=1)] = (
        "Given an object located at <coord> , describe the object in detail."
    )

    def locate(self, folder: AnnotationFolder, split: str) -> AnnotationFiles:
        """The split's file in a folder: Scan2Cap's own, else ScanRefer's; with its proposals."""
        own = folder.annotations(f"Scan2Cap_{split}.json")
        shared = folder.annotations(f"ScanRefer_filtered_{split}.json")
        path = own if own.is_file() else shared
        wanted = split != "train" and not folder.oracle
        proposals = folder.proposals(split) if wanted else None
        return AnnotationFiles((path,), folder.objects(), proposals, oracle=folder.oracle)

    def read(
        self, parsed: Parsed, files: AnnotationFiles, wording: Wording, split: str
    ) -> list[Sample]:
        """One sample per described object; of the training split one per description."""
        [(path, values)] = parsed
        records = parse_records(values, Description, path)
        refuse_repeats((record.key for record in records), path)
        located: list[Located] = [
            (
                record,
                target_box(
                    record.bbox, files.objects, record.scene_id, record.object_id, path, index
                )
                if record.bbox or files.objects
                else None,
            )
            for index, record in enumerate(records)
        ]
        prompt = wording.render(self.prompt, split)
        if split == "train":
            return [self._to_train_on(record, box, prompt, wording) for record, box in located]
        by_object: dict[tuple[str, int, str], list[Located]] = defaultdict(list)
        for record, box in located:
            by_object[record.scene_id, record.object_id, record.object_name].append((record, box))
        return [self._to_evaluate(group, files, prompt) for group in by_object.values()]

    def _to_train_on(
        self, record: Description, box: Box | None, prompt: str, wording: Wording
    ) -> Sample:
        return Sample(
            sample_id=f"{self.kind}_{record.key}",
            benchmark=self.kind,
            scene_id=record.scene_id,
            kind="text",
            prompt=prompt,
            answers=(wording.describe(record.description),),
            target_ids=(record.object_id,),
            target_boxes=(box,) if box else (),
            box_input=box,
            tags=record.tags,
        )

    def _to_evaluate(self, group: Sequence[Located], files: AnnotationFiles, prompt: str) -> Sample:
        first, box = group[0]
        records = [record for record, _ in group]
        tokens = [" ".join(record.token) for record in records if record.token is not None]
        proposals = (files.proposals or {}).get(first.scene_id, ())
        name = f"{self.kind}_{first.scene_id}_{first.object_id}_{first.object_name}"
        return Sample(
            sample_id=name.replace(" ", "_"),
            benchmark=self.kind,
            scene_id=first.scene_id,
            kind="text",
            prompt=prompt,
            answers=tuple(record.description for record in records),
            target_ids=(first.object_id,),
            target_boxes=(box,) if box else (),
            box_input=box if box is None or files.oracle else prompt_box(proposals, box),
            # The Scan2Cap evaluators compare the annotators' own tokens, not the description.
            tags=first.tags
            | ({"tokens": "\n".join(tokens)} if len(tokens) == len(records) else {}),
        )

    def truth_of(self, record: Conversation) -> Truth:
        """The box of the object to describe, where it is known."""
        return Truth((record.gt_box,) if record.gt_box else ())
