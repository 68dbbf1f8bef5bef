"""ScanNet: posed images, the frames EmbodiedScan lists, and boxes from JSON lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from threedrs_components.scenes.boxes import read_box_lists, write_exact_boxes
from threedrs_components.scenes.embodiedscan import FrameList, read_frame_lists
from threedrs_components.scenes.rgbd_folder import MIN_FRAMES, load_folder, load_images
from threedrs_components.scenes.settings import PROPOSALS, Progress, Role, SceneSettings
from threedrs_components.scenes.splits import ALL, chosen_split
from threedrs_platform.config import PLACE
from threedrs_platform.errors import DataError, SceneError
from threedrs_platform.records import Boxes, Metric, Scene

UNLABELLED = "object"
"""Label of boxes that come from a list without labels."""


class ScanNetConfig(SceneSettings):
    """Where the ScanNet files lie; the layout is that of the released data."""

    kind: Literal["scannet"] = "scannet"
    posed_images: Annotated[str, PLACE]
    """Folder with one folder per scene: NNNNN.jpg, .png, .txt, intrinsic files."""
    frame_lists: Annotated[dict[str, str], PLACE]
    """EmbodiedScan info file (.pkl or .json) per split."""
    boxes: Annotated[tuple[str, ...], PLACE] = ()
    """Ground-truth boxes per scene, e.g. scannet_train_gt_box.json."""
    proposals: Annotated[tuple[str, ...], PLACE] = ()
    """Candidate boxes per scene in the same form, e.g. scannet_val_pred_box.json."""
    num_frames: int = Field(default=32, ge=1)
    """Frames per scene, evenly chosen among those that are listed."""
    min_frames: int = Field(default=MIN_FRAMES, ge=1)
    """Frames that must be left of a scene that lost some; see `RGBDFolderConfig`."""

    annotated_split: ClassVar[str] = "train"
    probe_split: ClassVar[str] = "train"
    mostly_unannotated: ClassVar[bool] = True
    has_all_images: ClassVar[bool] = True

    @property
    def has_proposals(self) -> bool:
        """Whether a file of them is named."""
        return bool(self.proposals)

    @property
    def most_frames(self) -> int:
        """As set."""
        return self.num_frames

    @property
    def split_names(self) -> tuple[str, ...]:
        """Those that have a frame list."""
        return tuple(self.frame_lists)

    def frame_shape(self) -> tuple[int, int]:
        """That of its cameras, 1296 x 968 and 640 x 480."""
        return 3, 4

    def data(self) -> Mapping[str, str]:
        """The folder of images, and every list."""
        named = {f"scenes.frame_lists.{split}": path for split, path in self.frame_lists.items()}
        for setting in ("boxes", "proposals"):
            for index, path in enumerate(getattr(self, setting)):
                named[f"scenes.{setting}.{index}"] = path
        return {"scenes.posed_images": self.posed_images, **named}

    def open(self, written: Path) -> ScanNet:
        """Read the lists; scenes themselves are read on demand."""
        del written
        return ScanNet(self)

    def open_all_images(self, written: Path) -> AllImages:
        """As the released extractor of teacher features saw the scenes."""
        return AllImages(self.open(written))

    def write(self, out: Path, role: Role, progress: Progress) -> tuple[Metric, ...]:
        """Write the splits, and the proposals in one form."""
        if self.proposals:
            (out / PROPOSALS).mkdir()
            proposals = read_box_lists(*map(Path, self.proposals))
            write_exact_boxes(out / PROPOSALS / "boxes.json", proposals)
        return super().write(out, role, progress)


class ScanNet:
    """Scene source over ScanNet posed images.

    The frame list decides which frames exist: images without a pose are never chosen. Images,
    depth and everything made from them share that one list.
    """

    def __init__(self, config: ScanNetConfig) -> None:
        self.num_frames, self.min_frames = config.num_frames, config.min_frames
        self._root = Path(config.posed_images)
        if not self._root.is_dir():
            raise DataError(f"{self._root}: no such folder of posed images")
        self._splits = {
            split: read_frame_lists(Path(path)) for split, path in config.frame_lists.items()
        }
        self._boxes = read_box_lists(*map(Path, config.boxes))

    def splits(self) -> Sequence[str]:
        """Names of the splits."""
        return sorted({ALL, *self._splits})

    def scenes(self, split: str) -> Sequence[str]:
        """Scene ids of a split, or of "all" splits, sorted."""
        if split == ALL:
            return sorted({scene for frames in self._splits.values() for scene in frames})
        ids = {name: list(frames) for name, frames in self._splits.items()}
        return chosen_split(ids, split, "the frame lists of ScanNet")

    def load(self, scene_id: str) -> Scene:
        """Read one scene at its listed frames, evenly chosen."""
        listed = self._listed(scene_id)
        scene = load_folder(
            scene_id,
            self._folder(scene_id),
            num_frames=self.num_frames,
            min_frames=self.min_frames,
            frame_names=listed.frame_names,
            axis_alignment=listed.axis_alignment,
            depth_intrinsics=listed.depth_intrinsics,
        )
        return dataclasses.replace(scene, objects=self._objects(scene_id, scene))

    def load_all_images(self, scene_id: str) -> Scene:
        """Frames evenly chosen from all images on disk, with or without a pose.

        Colour only: depth is empty, cameras are the identity. No other scene holds such frames
        together, so nothing but a teacher should read it.
        """
        self._listed(scene_id)
        names, images, dropped = load_images(scene_id, self._folder(scene_id), self.num_frames)
        size = len(names)
        return Scene(
            scene_id=scene_id,
            frame_names=names,
            images=images,
            depth=np.zeros((size, 1, 1), np.float32),
            color_intrinsics=np.eye(3, dtype=np.float32),
            depth_intrinsics=np.eye(3, dtype=np.float32),
            camera_to_world=np.tile(np.eye(4, dtype=np.float32), (size, 1, 1)),
            axis_alignment=np.eye(4, dtype=np.float32),
            dropped_frames=dropped,
        )

    def _folder(self, scene_id: str) -> Path:
        folder = self._root / scene_id
        if not folder.is_dir():
            raise SceneError(scene_id, "no folder of posed images", folder)
        return folder

    def _listed(self, scene_id: str) -> FrameList:
        for frames in self._splits.values():
            if scene_id in frames:
                return frames[scene_id]
        raise SceneError(scene_id, "is in no EmbodiedScan frame list")

    def _objects(self, scene_id: str, scene: Scene) -> Boxes | None:
        boxes = self._boxes.get(scene_id)
        if boxes is None:
            return scene.objects
        return Boxes(boxes.ids, (UNLABELLED,) * len(boxes.ids), boxes.boxes)


class AllImages:
    """Scenes as the released extractor of teacher features saw them: see `load_all_images`."""

    def __init__(self, source: ScanNet) -> None:
        self._source = source

    def splits(self) -> Sequence[str]:
        """Names of the splits."""
        return self._source.splits()

    def scenes(self, split: str) -> Sequence[str]:
        """Scene ids of a split, sorted."""
        return self._source.scenes(split)

    def load(self, scene_id: str) -> Scene:
        """Colour frames chosen from all images."""
        return self._source.load_all_images(scene_id)
