"""Images of questions as clips: `<kind>/<images>/<nn>.jpg`, which scenes of kind videos read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from threedrs_components.benchmarks.multi_image_choice import Choice
from threedrs_components.scenes.scene_names import inside
from threedrs_components.scenes.unreadable import UNREADABLE, machine_fault
from threedrs_components.scenes.videos.reader import IMAGES, MOST_PIXELS
from threedrs_platform.errors import AnnotationError

ENDINGS = {"JPEG": ".jpg", "PNG": ".png"}


@dataclass
class LaidOut:
    """What was written."""

    questions: int
    scenes: int = 0
    """Sets of images: questions on the same ones share them."""
    kept: int = 0
    """Of these, how many were there."""
    resized: int = 0
    """How many had images of several sizes, which one clip cannot have."""
    most_images: int = 0
    """Of one question."""


def lay_out(
    kind: str, choices: Sequence[Choice], media: Path | None, out: Path, path: Path
) -> LaidOut:
    """Write the images of some questions; those that are there already are kept.

    Images of one question that are of several sizes are all scaled to the largest width and height.

    Args:
        kind: the benchmark, and the folder in `out`.
        choices: its questions.
        media: the folder that names of images start from; None where files hold the images.
        out: what `scenes.root` is to name.
        path: the file of the questions, for messages.

    Raises:
        AnnotationError: an image is missing, or no image; names the question.
        StorageError: the disk is full or fails, or a file may not be read.
    """
    found = LaidOut(len(choices))
    seen: set[str] = set()
    for index, choice in enumerate(choices):
        found.most_images = max(found.most_images, len(choice.images))
        if choice.scene in seen:
            continue
        seen.add(choice.scene)
        folder = out / kind / choice.scene
        if folder.is_dir():
            found.kept += 1
            continue
        try:
            found.resized += _write(choice.images, media, folder)
        except UNREADABLE as error:
            place = Path(getattr(error, "filename", None) or folder)
            if (fault := machine_fault(error, place)) is not None:
                raise fault from error
            name = choice.name or index
            raise AnnotationError(path, name, "images", _reason(error, media)) from error
    found.scenes = len(seen)
    return found


def _write(images: Sequence[str | bytes], media: Path | None, folder: Path) -> bool:
    """Write one clip, whole or not at all; whether its images had to be scaled."""
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    files = [_placed(image, media, partial / f"{at:02d}") for at, image in enumerate(images)]
    sizes = [_size(path) for path in files]
    differ = len(set(sizes)) > 1
    if differ:
        largest = (max(width for width, _ in sizes), max(height for _, height in sizes))
        for path in files:
            _scale(path, largest)
    partial.rename(folder)
    return differ


def _placed(image: str | bytes, media: Path | None, stem: Path) -> Path:
    """An image at its place: linked if it is a file on the same disk, else copied or written."""
    if isinstance(image, bytes):
        with Image.open(BytesIO(image)) as opened:
            ending = ENDINGS.get(opened.format or "")
            path = stem.with_name(stem.name + (ending or ".png"))
            if ending is None:
                opened.convert("RGB").save(path)
                return path
        path.write_bytes(image)
        return path
    if media is None:
        raise ValueError(f"{image!r} names a file; name the folder it starts from: --media")
    source = inside(media, image)
    if source.suffix.lower() not in IMAGES:
        raise ValueError(f"{image!r} is none of {', '.join(IMAGES)}")
    path = stem.with_name(stem.name + source.suffix.lower())
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)
    return path


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        width, height = image.size
    if width * height > MOST_PIXELS:
        raise ValueError(f"{path.name} has {width} x {height} pixels, as no image of these has")
    return width, height


def _scale(path: Path, size: tuple[int, int]) -> None:
    with Image.open(path) as image:
        scaled = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    path.unlink()  # it may be the published file itself, under a second name
    scaled.save(path.with_suffix(".png"))


def _reason(error: Exception, media: Path | None) -> str:
    if isinstance(error, FileNotFoundError):
        name = error.filename
        return f"{name}: no such file; is --media {media} the folder that names start from?"
    return " ".join(str(error).split())
