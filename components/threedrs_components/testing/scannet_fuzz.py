"""Damaged inputs of the ScanNet readers, one per number, and what must not come of any."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from threedrs_components.scenes.embodiedscan import read_frame_lists
from threedrs_components.scenes.scannet_download.convert import convert_scene
from threedrs_components.scenes.scannet_download.layout import SceneFiles
from threedrs_components.scenes.scannet_download.scene_record import (
    ConversionConfig,
    ConvertedScene,
    SceneJob,
)
from threedrs_components.testing.scannet_download import write_scannet_download
from threedrs_platform.errors import DataError

EXTREMES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 10**12, 2**63 - 1, 2**64 - 1)
WORDS = (
    *(b"null", b"-1", b"1e400", b"NaN", b"Infinity", b'"x"', b"[]", b"{}", b"1.5", b"true"),
    *(b"0", b"7", b"100", b"99999", b"9" * 20, b"9" * 400, b"9" * 5000, b"[" * 9, b"[" * 100_000),
    *(b'"../../x"', b"../../etc/passwd", b"/dev/zero", b"1e30"),
)

TEXT_SHARE = 0.6
"""Of damage to a text file that replaces whole words of it."""


@dataclass(frozen=True)
class Verdict:
    """What became of one damaged input."""

    target: str
    outcome: str
    """refused; same; told: differs, with a remark; other: differs, as a sound file could"""


class FuzzedScene:
    """One scene of a download, of which one file after the other is damaged."""

    def __init__(self, folder: Path) -> None:
        """Write the scene under an empty folder, and convert it undamaged."""
        write_scannet_download(folder / "download", train=1, val=1)
        scene_id = "val00000"
        files = SceneFiles(scene_id, folder / "download/scans" / scene_id, False)
        masks = folder / "download/mask" / f"{scene_id}.mask.npz"
        self._job = SceneJob(files, "val", folder / "out", ConversionConfig(), None, masks)
        self._text_job = replace(
            self._job, masks=folder / "download/mask3d_text" / f"{scene_id}.txt"
        )
        self._infos = folder / "infos.pkl"
        self._infos.write_bytes(_infos(protocol=4))
        self._infos_2 = folder / "infos_2.pkl"
        self._infos_2.write_bytes(_infos(protocol=2))
        self.targets = {
            "sens": files.stream,
            "ply": files.mesh,
            "segs": files.segments,
            "aggregation": files.groups,
            "alignment": files.alignment,
            "masks npz": masks,
            "masks text": self._text_job.masks or masks,
            "infos pkl": self._infos,
            "infos pkl 2": self._infos_2,
        }
        self._sound = {path: path.read_bytes() for path in self.targets.values()}
        self._truth = convert_scene(self._job)
        self._pixels = self._digest()
        self._lists = _plain(self._infos)

    def case(self, number: int, seed: int) -> Verdict:
        """Damage one file, read it, and judge what came of it.

        Raises:
            AssertionError: a wrong scene was accepted though the damage shows.
            Exception: anything but a DataError came out of a reader.
        """
        rng = np.random.default_rng([seed, number])
        target = list(self.targets)[number % len(self.targets)]
        path = self.targets[target]
        path.write_bytes(damaged(self._sound[path], rng))
        try:
            outcome = self._infos_outcome(path) if "infos" in target else self._outcome(target)
        except DataError:
            outcome = "refused"
        finally:
            path.write_bytes(self._sound[path])
        return Verdict(target, outcome)

    def _infos_outcome(self, path: Path) -> str:
        return "same" if _plain(path) == self._lists else "other"

    def _outcome(self, target: str) -> str:
        scene = convert_scene(self._text_job if target == "masks text" else self._job)
        if _values(scene) == _values(self._truth) and self._digest() == self._pixels:
            return "same"
        if scene.remarks:
            return "told"
        self._check(target, scene)
        return "other"

    def _check(self, target: str, scene: ConvertedScene) -> None:
        """What no damage may change without a word."""
        truth = self._truth
        assert scene.frames_in_stream == truth.frames_in_stream
        assert scene.frames == truth.frames
        if target != "sens":
            assert self._digest() == self._pixels and scene.listed == truth.listed
        if target != "aggregation":
            kept = set(scene.boxes) | {str(each) for each in scene.vanished}
            assert kept == set(truth.boxes) | {str(each) for each in truth.vanished}
        if target not in ("aggregation", "ply", "segs", "alignment"):
            assert scene.boxes == truth.boxes
        if target != "alignment":
            assert scene.axis_alignment == truth.axis_alignment

    def _digest(self) -> str:
        found = hashlib.sha256()
        for path in sorted(self._job.folder.iterdir()):
            if path.suffix != ".json":
                found.update(path.name.encode() + path.read_bytes())
        return found.hexdigest()


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with one of many kinds of damage, often near its beginning."""
    end = len(content)
    at = int(rng.integers(end) if rng.random() < 0.6 else rng.integers(min(end, 600)))
    size = int(rng.integers(1, 65))
    kinds: list[Callable[[], bytes]] = [
        lambda: content[:at] + bytes([int(rng.integers(256))]) + content[at + 1 :],
        lambda: content[:at] + bytes([content[at] ^ 1 << int(rng.integers(8))]) + content[at + 1 :],
        lambda: content[:at],
        lambda: content[:at] + content[at + size :],
        lambda: content[:at] + rng.bytes(size) + content[at:],
        lambda: content[:at] + bytes(size) + content[at + size :],
        lambda: content[:at] + b"\xff" * size + content[at + size :],
        lambda: content + rng.bytes(size),
        lambda: content[:at] + _extreme(rng) + content[at + 8 :],
        lambda: content[:at] + content[at : at + size] * 2 + content[at + size :],
    ]
    if content.isascii() and rng.random() < TEXT_SHARE:
        return _word_replaced(content, rng)
    return kinds[int(rng.integers(len(kinds)))]()


def fuzz(cases: int, seed: int, first: int = 0) -> Counter[Verdict]:
    """Judge so many damaged inputs; the first failure names its number and seed."""
    counted: Counter[Verdict] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        scene = FuzzedScene(Path(folder))
        for number in range(first, first + cases):
            try:
                counted[scene.case(number, seed)] += 1
            except Exception as error:
                error.add_note(f"case {number} of seed {seed}")
                raise
    return counted


def _extreme(rng: np.random.Generator) -> bytes:
    return EXTREMES[int(rng.integers(len(EXTREMES)))].to_bytes(8, "little")


def _word_replaced(content: bytes, rng: np.random.Generator) -> bytes:
    """One number, text or list of a text file becomes something else, or a number another one."""
    found = list(re.finditer(rb'-?\d+(?:\.\d+)?|"[^"]*"|\[|\]', content[: 1 << 16]))
    if not found:
        return content[:-1]
    match = found[int(rng.integers(len(found)))]
    word = WORDS[int(rng.integers(len(WORDS)))]
    if match[0][-1:].isdigit() and rng.random() < 0.5:
        word = match[0][:-1] + b"%d" % rng.integers(10)
    return content[: match.start()] + word + content[match.end() :]


def _infos(protocol: int) -> bytes:
    entry = {
        "sample_idx": "scannet/scene0000_00",
        "images": [{"img_path": f"scannet/posed_images/scene0000_00/{n:05d}.jpg"} for n in (0, 10)],
        "axis_align_matrix": np.eye(4),
        "depth_cam2img": np.diag([7.0, 7.0, 1.0, 1.0]),
    }
    entries = [entry, {**entry, "sample_idx": "3rscan/abc"}]
    return pickle.dumps({"metainfo": {}, "data_list": entries}, protocol)


def _plain(path: Path) -> Any:
    lists = read_frame_lists(path)
    return {
        scene: (each.frame_names, each.axis_alignment.tolist(), each.depth_intrinsics.tolist())
        for scene, each in lists.items()
    }


def _values(scene: ConvertedScene) -> str:
    return json.dumps(vars(replace(scene, seconds=0.0, inputs={}, settings="")))
