"""The file names of posed RGB-D frames that are understood, by family of data sets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from threedrs_components.scenes.frames import DEPTH_ENDINGS

MOST_SHOWN = 6
"""Endings and folders that are listed of a folder that is not recognised."""


@dataclass(frozen=True)
class FolderStyle:
    """How one family of data sets names its files. Patterns are of names inside their folder."""

    name: str
    example: str
    """Files of one frame and of the cameras, in words."""
    color: str
    """Regular expression of a colour file; group 1 is the frame's name."""
    depth: str
    """The frame's name in place of {}, any of `DEPTH_ENDINGS` behind it."""
    pose: str
    color_intrinsics: tuple[str, ...]
    """Files in the scene folder, the first that is there counts."""
    depth_intrinsics: tuple[str, ...]
    color_folder: str = ""
    depth_folder: str = ""
    pose_folder: str = ""

    def colors(self, folder: Path) -> dict[str, Path]:
        """Colour files of a folder by frame name, in order of their numbers.

        Of two files of a frame the first by name counts, so .jpg before .png.
        """
        found: dict[str, Path] = {}
        for name, path in sorted(self._colors(folder), key=lambda item: item[1].name):
            found.setdefault(name, path)
        return dict(sorted(found.items(), key=lambda item: frame_order(item[0])))

    def depths(self, folder: Path) -> dict[str, Path]:
        """Depth files of a folder by frame name; of several endings the usual one."""
        before, after = map(re.escape, self.depth.split("{}"))
        found: dict[str, Path] = {}
        for path in _files(folder / self.depth_folder):
            match = re.fullmatch(f"{before}(.+?){after}", path.stem)
            if match and path.suffix in DEPTH_ENDINGS:
                other = found.setdefault(match[1], path)
                found[match[1]] = min(other, path, key=lambda p: DEPTH_ENDINGS.index(p.suffix))
        return found

    def pose_of(self, frame: str) -> Path:
        """A frame's pose file, below the scene folder."""
        return Path(self.pose_folder, self.pose.format(frame))

    def files(self, folder: Path) -> list[Path]:
        """All visible files of a scene folder and of the folders of this style in it."""
        named = (*self.color_intrinsics, *self.depth_intrinsics)
        inside = {"", self.color_folder, self.depth_folder, self.pose_folder}
        folders = inside | {str(Path(name).parent) for name in named} - {"."}
        found = (path for name in sorted(folders) for path in _files(folder / name))
        return [path for path in found if path.is_file() and not path.name.startswith(".")]

    def fits(self, folder: Path) -> bool:
        """Whether a folder holds a colour frame of this style."""
        return next(self._colors(folder), None) is not None

    def _colors(self, folder: Path) -> Iterator[tuple[str, Path]]:
        for path in _files(folder / self.color_folder):
            match = re.fullmatch(self.color, path.name)
            if match:
                yield match[1], path


STYLES = (
    FolderStyle(
        name="7-Scenes",
        example="frame-000000.color.jpg, frame-000000.depth.png, frame-000000.pose.txt, "
        "camera-intrinsics.txt",
        color=r"(frame-\d+)\.color\.(?:jpg|jpeg|png)",
        depth="{}.depth",
        pose="{}.pose.txt",
        color_intrinsics=("camera-intrinsics.txt",),
        depth_intrinsics=("camera-intrinsics.txt",),
    ),
    FolderStyle(
        name="ScanNet posed images",
        example="00000.jpg, 00000.png, 00000.txt, intrinsic.txt, depth_intrinsic.txt",
        color=r"(\d+)\.(?:jpg|jpeg)",
        depth="{}",
        pose="{}.txt",
        color_intrinsics=("intrinsic.txt", "intrinsic_color.txt"),
        depth_intrinsics=("depth_intrinsic.txt", "intrinsic_depth.txt"),
    ),
    FolderStyle(
        name="ScanNet SensReader",
        example="color/0.jpg, depth/0.png, pose/0.txt, intrinsic/intrinsic_color.txt, "
        "intrinsic/intrinsic_depth.txt",
        color=r"((?:frame[-_])?\d+)\.(?:jpg|jpeg|png)",
        depth="{}",
        pose="{}.txt",
        color_intrinsics=("intrinsic/intrinsic_color.txt", "intrinsic_color.txt"),
        depth_intrinsics=("intrinsic/intrinsic_depth.txt", "intrinsic_depth.txt"),
        color_folder="color",
        depth_folder="depth",
        pose_folder="pose",
    ),
)


def find_style(folder: Path) -> FolderStyle | None:
    """The naming style of a scene folder, or None if it holds no colour frames."""
    return next((style for style in STYLES if style.fits(folder)), None)


def frame_order(name: str) -> tuple[int, str]:
    """Sorts frames by their number, whether or not it is padded with zeros."""
    return int(re.sub(r"\D", "", name)), name


def unrecognised(folder: Path) -> str:
    """What was looked for in a folder without colour frames, and what lies there."""
    understood = "; ".join(f"{style.name}: {style.example}" for style in STYLES)
    return (
        "holds no posed RGB-D frames, nor folders of them. Understood are "
        f"{understood}. Found {_content_told(folder)}"
    )


def _content_told(folder: Path) -> str:
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    folders = sorted(path.name + "/" for path in entries if path.is_dir())
    endings = Counter(path.suffix or path.name for path in entries if not path.is_dir())
    found = [f"{number} x {ending}" for ending, number in endings.most_common(MOST_SHOWN)]
    more = f" and {len(folders) - MOST_SHOWN} folders more" if len(folders) > MOST_SHOWN else ""
    return ", ".join([*folders[:MOST_SHOWN], *found]) + more or "nothing"


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from folder.iterdir()
