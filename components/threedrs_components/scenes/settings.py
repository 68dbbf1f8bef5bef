"""What sources of scenes let one choose, whatever their kind, and what they must do."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

from threedrs_components.scenes.source import SceneSource
from threedrs_components.scenes.splits import write_splits
from threedrs_platform.config import Config
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.records import Metric

Role = Literal["student", "teacher"]
"""Whom scenes are for: micro teachers learn from scenes that no student sees."""
Progress = Callable[[int, int, str], None]
PROPOSALS = "proposals"
"""Folder of candidate boxes among what `write` leaves."""


class SceneSettings(Config):
    """Base of every kind of scene source.

    A source is written once into an artifact (`write`), and read from there (`reader().open`). Data
    that stay where they are leave only their splits and proposals in it: their paths are settings,
    their content is known by digests.
    """

    annotated_split: ClassVar[str] = "text"
    """The split to fine-tune on."""
    probe_split: ClassVar[str] = "probe"
    """The split that the position probe is fitted on."""
    mostly_unannotated: ClassVar[bool] = False
    """Whether annotations name few of the scenes, so that the others are better left alone."""
    has_geometry: ClassVar[bool] = True
    """Whether there are depth and cameras: without them nothing is probed."""
    frames_vary: ClassVar[bool] = False
    """Whether scenes have different numbers of frames, and so cannot share a batch."""
    question_sets: ClassVar[Mapping[str, str]] = {}
    """Sets of questions that can come with the scenes, and where these are fetched."""
    has_all_images: ClassVar[bool] = False
    """Whether there are images beside those of the frame list."""

    @property
    def package(self) -> tuple[str, str] | None:
        """An optional package that reads them, by import name, and what pip is to be told."""
        return None

    @property
    def annotated(self) -> tuple[str, ...]:
        """Benchmarks and sets of questions whose annotations come with the scenes."""
        return ()

    @property
    def keeps_every_frame(self) -> bool:
        """Whether all frames must be seen: the data set chose them."""
        return False

    @property
    def has_proposals(self) -> bool:
        """Whether candidate boxes come with the scenes."""
        return False

    @property
    def most_frames(self) -> int | None:
        """Frames that every scene has at most, if a setting says so."""
        return None

    @property
    def trained_scenes(self) -> int | None:
        """Scenes that fine-tuning learns from, if a setting says so."""
        return None

    @property
    def split_names(self) -> tuple[str, ...] | None:
        """The splits, where a setting lists them."""
        return None

    def frame_shape(self) -> tuple[int, int] | None:
        """Height and width of frames, by settings or a frame that is here; None if neither tells.

        Of frames of several shapes the flattest, for it has the fewest rows.
        """
        return None

    def scene_of(self, name: str) -> str:
        """Scene id of what annotations call a scene."""
        return name

    def data(self) -> Mapping[str, str]:
        """Paths of all files and folders outside that the scenes are read from, by setting."""
        return {}

    def record_faults(self, *, absent_too: bool) -> tuple[tuple[str, str], ...]:
        """What is wrong with records that come with the scenes, as a setting's name and words.

        Args:
            absent_too: whether an image that is not there is a fault.
        """
        del absent_too
        return ()

    def sources(self) -> Mapping[str, str]:
        """Where what a setting of `data` names can be fetched, for messages."""
        return {}

    def of_role(self, role: Role) -> Self:
        """These settings with all that does not concern a role at its default."""
        del role
        return self

    def reader(self) -> SceneSettings:
        """The settings that open what `write` has left."""
        return self

    @abstractmethod
    def open(self, written: Path) -> SceneSource:
        """Open the scenes.

        Args:
            written: the folder that `write` was given.

        Raises:
            DataError: the scenes are not where the settings say.
        """

    def open_all_images(self, written: Path) -> SceneSource:
        """The scenes with frames from all images, whether in the frame list or not: colour only.

        Raises:
            ConfigError: this kind has no other images.
        """
        del written
        raise ConfigError([Fault("these scenes have no images beside their frame list")])

    def write(self, out: Path, role: Role, progress: Progress) -> tuple[Metric, ...]:
        """Write into an empty folder what the steps behind need of the scenes."""
        del role, progress
        write_splits(out, self.open(out))
        return ()
