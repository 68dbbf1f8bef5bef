"""Videos and images without depth or cameras: VSI-Bench's clips, and what VG-LLM trains on."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from threedrs_components.scenes.settings import Progress, Role, SceneSettings
from threedrs_components.scenes.videos.reader import Moments, holds_videos
from threedrs_components.scenes.videos.records import Drawn, SetName, draw_records, write_drawn
from threedrs_platform.config import LATER, PLACE, Config
from threedrs_platform.errors import DataError
from threedrs_platform.records import Metric

if TYPE_CHECKING:
    from threedrs_components.scenes.videos.source import Videos

ANNOTATIONS = "annotations"
"""Folder of the records that were drawn, in the scenes artifact."""
_CLIPS = (
    "nyu-visionx/VSI-Bench, its zip files unpacked; where images are asked about, see "
    "`workflows prepare question-images`"
)
_MEDIA = "jasonzhango/SPAR-7M, and train_300k of ShareGPTVideo/train_video_and_instruction"
HUBS: Mapping[str, str] = {
    "benchmarks.annotations": _CLIPS,
    "scenes.root": _CLIPS,
    "scenes.spar.records": "zd11024/VG-LLM-Data: train/spar_7m.tar.gz, unpacked",
    "scenes.spar.media": _MEDIA,
    "scenes.llava_hound.records": "zd11024/VG-LLM-Data: train/llava_hound_255k.json",
    "scenes.llava_hound.media": _MEDIA,
}
"""Data sets of the Hugging Face hub that hold what a setting names."""


class RecordsConfig(Config):
    """Questions to learn, each with images of its own."""

    records: Annotated[str, PLACE]
    """The file of questions, JSON Lines, JSON or Parquet."""
    media: Annotated[str, PLACE]
    """The folder that its names of images and videos start from."""
    share: float = Field(default=1.0, gt=0, le=1)
    """How many of them are learned."""


class VideosConfig(SceneSettings):
    """Clips to be asked about, and records to learn."""

    kind: Literal["videos"] = "videos"
    root: Annotated[str, PLACE]
    """`<data set>/<scene>.mp4`, or a folder of images for each scene: the split "val"."""
    datasets: tuple[str, ...] | None = None
    """Its folders that are read; None is all of them."""
    spar: RecordsConfig | None = None
    """`spar_7m.jsonl` of VG-LLM; marks are painted on its images."""
    llava_hound: RecordsConfig | None = None
    """`llava_hound_255k.json` of VG-LLM; its videos are folders of frames."""
    conversations: Annotated[RecordsConfig | None, LATER] = None
    """A file of your own in the form of LLaVA or ms-swift; each answer of a conversation is learned
    on its own, and videos are seen as clips are."""
    seed: int = 0
    """Of the draw: first from spar, then llava_hound, then conversations, as `random.seed` and
    `random.sample`."""
    num_frames: int = Field(default=32, ge=1)
    """Of a clip, at most: one that has fewer is seen whole."""
    moments: Moments = "spread"
    """Which frames of a clip; all refuses one that has more than num_frames."""
    on_bad_record: Literal["refuse", "skip"] = "refuse"
    """What a faulty record does: stop the step, or be left out, counted and shown."""

    annotated_split: ClassVar[str] = "train"
    probe_split: ClassVar[str] = "train"
    has_geometry: ClassVar[bool] = False
    frames_vary: ClassVar[bool] = True
    question_sets: ClassVar[Mapping[str, str]] = {
        name: "; ".join(
            f"{setting}: Hugging Face {hub}"
            for setting, hub in HUBS.items()
            if f".{name}." in setting
        )
        for name in ("spar", "llava_hound")
    } | {"conversations": "scenes.conversations: a file in the form of LLaVA or ms-swift"}

    @property
    def package(self) -> tuple[str, str] | None:
        """PyAV, where a clip that is here is a video file."""
        is_video = holds_videos(Path(self.root), self.datasets)
        return ("av", "-e '.[video]'") if is_video else None

    @property
    def most_frames(self) -> int:
        """As set."""
        return self.num_frames

    @property
    def keeps_every_frame(self) -> bool:
        """With moments: all."""
        return self.moments == "all"

    @property
    def split_names(self) -> tuple[str, ...]:
        """Records to learn from, clips to be asked about."""
        return ("train", "val")

    @property
    def annotated(self) -> tuple[str, ...]:
        """The sets that are given."""
        return tuple(self.sets())

    def sets(self) -> dict[SetName, RecordsConfig]:
        """The sets of records, in the order in which they are drawn."""
        given: dict[SetName, RecordsConfig | None] = {
            "spar": self.spar,
            "llava_hound": self.llava_hound,
            "conversations": self.conversations,
        }
        return {name: each for name, each in given.items() if each is not None}

    def data(self) -> Mapping[str, str]:
        """The folder of clips, and what the sets of records name."""
        named = {
            f"scenes.{name}.{place}": getattr(each, place)
            for name, each in self.sets().items()
            for place in ("records", "media")
        }
        return {"scenes.root": self.root, **named}

    def record_faults(self, *, absent_too: bool) -> tuple[tuple[str, str], ...]:
        """Of conversations that are learned whole: of others it is not known which will be."""
        from threedrs_components.scenes.videos.check import record_faults

        given = self.conversations
        if given is None or given.share < 1:
            return ()
        found = record_faults(
            "conversations",
            Path(given.records),
            Path(given.media),
            tolerant=self.on_bad_record == "skip",
            absent_too=absent_too,
        )
        return tuple((f"scenes.conversations.{setting}", told) for setting, told in found)

    def sources(self) -> Mapping[str, str]:
        """On the hub."""
        return {setting: f"Hugging Face {hub}" for setting, hub in HUBS.items()}

    def open(self, written: Path) -> Videos:
        """The clips under the root, and the records that `write` has drawn."""
        from threedrs_components.scenes.videos.source import Videos

        return Videos(self, written / ANNOTATIONS)

    def write(self, out: Path, role: Role, progress: Progress) -> tuple[Metric, ...]:
        """Draw the records to learn, then write the splits.

        Raises:
            DataError: a record is faulty, and faulty ones are refused.
        """
        (out / ANNOTATIONS).mkdir()
        chance, metrics = random.Random(self.seed), []
        for done, (name, each) in enumerate(self.sets().items()):
            progress(done, len(self.sets()), name)
            media = Path(each.media)
            drawn = draw_records(name, Path(each.records), each.share, chance, media)
            self._check(drawn, each)
            write_drawn(out / ANNOTATIONS, name, drawn)
            metrics += [
                Metric(f"scenes/{name}/drawn", len(drawn.good), n=drawn.total, unit="samples"),
                Metric(f"scenes/{name}/skipped", len(drawn.bad), n=drawn.total, unit="samples"),
            ]
        return (*metrics, *super().write(out, role, progress))

    def _check(self, drawn: Drawn, each: RecordsConfig) -> None:
        if not drawn.bad and not drawn.good:
            raise DataError(f"{each.records}: {each.share} of its {drawn.total} records is none")
        if drawn.bad and (self.on_bad_record == "refuse" or not drawn.good):
            at, reason = next(iter(drawn.bad.items()))
            count = f"{len(drawn.bad)} of {len(drawn.bad) + drawn.read} drawn records are faulty"
            cure = "; scenes.on_bad_record: skip leaves them out" if drawn.good else ""
            raise DataError(f"{each.records}: record {at}: {reason}; {count}{cure}")
