"""Where annotations lie that the scenes do not bring themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from threedrs_components.benchmarks.annotation_files import AnnotationFolder
from threedrs_components.benchmarks.label_map import read_label_map
from threedrs_platform.config import PLACE, Config


class AnnotationPlaces(Config):
    """Files and folders outside the scenes."""

    annotations: Annotated[str | None, PLACE] = None
    """Folder with `annotations/` and `proposals/`; the scenes' own folder if not given."""
    box_file: Annotated[str | None, PLACE] = None
    """Boxes of annotated objects (`scannet_train_gt_box.json` form), if the scenes hold none."""
    label_map: Annotated[str | None, PLACE] = None
    """`scannetv2-labels.combined.tsv`; decides unique / multiple where the annotations do not."""

    def folder(self, scenes: Path, *, oracle: bool) -> AnnotationFolder:
        """The annotations for some scenes.

        Args:
            scenes: the folder of the scenes artifact; holds proposals, too.
            oracle: true boxes are the candidates.
        """
        return AnnotationFolder(
            root=Path(self.annotations) if self.annotations else scenes,
            box_file=Path(self.box_file) if self.box_file else None,
            label_map=read_label_map(Path(self.label_map)) if self.label_map else None,
            scene_proposals=scenes / "proposals",
            oracle=oracle,
        )
