"""Frames of a clip: a video file that PyAV decodes, or a folder of images in order of name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from threedrs_components.scenes.frames import UnreadableImage, read_color, uniform_choice
from threedrs_components.scenes.unreadable import machine_fault
from threedrs_platform.errors import DataError, SceneError
from threedrs_platform.records import Float32, Scene, UInt8

if TYPE_CHECKING:
    from numpy.typing import NDArray

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi")
IMAGES = (".jpg", ".jpeg", ".png")
MOST_PIXELS = 4096 * 4096
"""Of a frame: a damaged header asks for more than there is memory."""
Moments = Literal["spread", "all"]
"""spread: evenly over the clip, both ends included, as lmms-eval and VG-LLM choose; all: the clip
holds what is to be seen, as those of ReVSI do, and no frame is left out."""


def colour_scene(scene_id: str, names: Sequence[str], images: UInt8) -> Scene:
    """A scene of which nobody knows depth or cameras."""
    size = len(names)
    eye: Float32 = np.eye(4, dtype=np.float32)
    return Scene(
        scene_id=scene_id,
        frame_names=tuple(names),
        images=images,
        depth=np.zeros((size, 1, 1), np.float32),
        color_intrinsics=eye[:3, :3],
        depth_intrinsics=eye[:3, :3],
        camera_to_world=np.tile(eye, (size, 1, 1)),
        axis_alignment=eye,
        has_geometry=False,
    )


def read_clip(scene_id: str, path: Path, most: int, moments: Moments = "spread") -> Scene:
    """The chosen frames of a video file or a folder of images; there are never repeats.

    Args:
        scene_id: of the scene.
        path: the file or folder.
        most: frames at most.
        moments: which of them.

    Raises:
        SceneError: no video, without frames, cut off, or with more frames than are to be seen.
        StorageError: memory or disk failed.
        DataError: a video, and PyAV is not installed.
    """
    if path.is_dir():
        files = image_files(path)
        chosen = moments_of(scene_id, len(files), most, moments, path)
        return read_images(scene_id, [files[index] for index in chosen])
    expected = _packets(scene_id, path)
    while True:
        chosen = moments_of(scene_id, expected, most, moments, path)
        images, found = _decoded(scene_id, path, set(chosen.tolist()))
        if found == expected:
            names = [f"{index:06d}" for index in chosen]
            return colour_scene(scene_id, names, _stacked(scene_id, images, path))
        expected = found


def moments_of(
    scene_id: str, available: int, most: int, moments: Moments, path: Path
) -> NDArray[np.int64]:
    """Indices of the frames to be seen.

    Raises:
        SceneError: there is none, or all are wanted and there are too many.
    """
    if not available:
        raise SceneError(scene_id, "holds no frame", path)
    if moments == "all" and available > most:
        reason = (
            f"holds {available} frames, and scenes.num_frames is {most}: all are to be seen "
            f"(scenes.moments: all), so set it, and prepare.num_frames, to {available}"
        )
        raise SceneError(scene_id, reason, path)
    return uniform_choice(available, min(available, most))


def image_files(folder: Path) -> list[Path]:
    """Images of a folder in order of name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGES and not path.name.startswith(".")
    )


def read_images(scene_id: str, files: Sequence[Path]) -> Scene:
    """A scene of these images, in their order.

    Raises:
        SceneError: an image is missing or unreadable, or they are of several sizes.
    """
    images = []
    for path in files:
        try:
            images.append(read_color(path))
        except UnreadableImage as error:
            raise SceneError(scene_id, str(error), path) from error
    names = [f"{index}:{path.stem}" for index, path in enumerate(files)]
    return colour_scene(scene_id, names, _stacked(scene_id, images, files[0].parent))


def _stacked(scene_id: str, images: Sequence[UInt8], path: Path) -> UInt8:
    sizes = sorted({f"{image.shape[1]} x {image.shape[0]}" for image in images})
    if len(sizes) > 1:
        raise SceneError(scene_id, f"frames of several sizes: {', '.join(sizes)}", path)
    return np.stack(images)


def holds_videos(root: Path, datasets: Sequence[str] | None) -> bool:
    """Whether a clip under a folder of data sets is a video file, as far as it can be read."""
    try:
        folders = root.iterdir() if datasets is None else (root / name for name in datasets)
        files = (path for folder in folders if folder.is_dir() for path in folder.iterdir())
        return any(path.suffix.lower() in VIDEOS and path.name[0] != "." for path in files)
    except OSError:
        return False


@contextmanager
def _opened(scene_id: str, path: Path) -> Iterator[Any]:
    """A video that is open; what FFmpeg says against it becomes the scene's fault."""
    try:
        import av
    except ImportError as error:
        message = "videos need PyAV: pip install -e '.[video]', or give folders of images"
        raise DataError(f"{path}: {message}") from error
    try:
        # Through a file of Python's the disk speaks for itself: FFmpeg says of damaged videos, too,
        # in numbers of the system, that memory or rights are short.
        with path.open("rb") as file, av.open(file) as video:
            codec = video.streams.video[0].codec_context if video.streams.video else None
            if codec is None:
                raise SceneError(scene_id, "is no video: it has no pictures to decode", path)
            if codec.width * codec.height > MOST_PIXELS:
                size = f"{codec.width} x {codec.height}"
                raise SceneError(scene_id, f"has frames of {size} pixels, as no clip has", path)
            yield video
    except FileNotFoundError as error:
        raise SceneError(scene_id, "no such video", path) from error
    except (OSError, ValueError, OverflowError, MemoryError, av.error.FFmpegError) as error:
        fault = None if isinstance(error, av.error.FFmpegError) else machine_fault(error, path)
        if fault is not None:
            raise fault from error
        raise SceneError(scene_id, f"is no video that can be read: {error}", path) from error


def _packets(scene_id: str, path: Path) -> int:
    """Frames by the packets that hold them, which is quicker to know than to decode.

    Raises:
        SceneError: fewer than the header promises.
    """
    with _opened(scene_id, path) as video:
        found = sum(1 for packet in video.demux(video=0) if packet.size)
        promised = video.streams.video[0].frames
    if found < promised:
        reason = f"is cut off: {found} of {promised} frames are there; copy the file again"
        raise SceneError(scene_id, reason, path)
    return found


def _decoded(scene_id: str, path: Path, chosen: set[int]) -> tuple[list[UInt8], int]:
    """The chosen frames [H, W, 3], and how many there are in all."""
    images, found = [], 0
    with _opened(scene_id, path) as video:
        video.streams.video[0].thread_type = "AUTO"
        for frame in video.decode(video=0):
            if frame.rotation:
                reason = f"is turned by {frame.rotation} degrees in its header; encode it upright"
                raise SceneError(scene_id, reason, path)
            if found in chosen:
                images.append(frame.to_ndarray(format="rgb24"))
            found += 1
    return images, found
