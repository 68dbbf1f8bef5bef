"""Teacher features on disk: one Arrow IPC file per scene, read through a memory map.

A folder holds one extraction (one teacher, layer and grid) as `<scene_id>.arrow`; every file's
header says which, so a file that strays from its folder still explains itself. Beside the files
lies their mean and deviation, computed once by the extraction and read by training.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from threedrs_platform.errors import ArtifactCorrupt, ArtifactMissing, DataError, StorageError
from threedrs_platform.records import FeatureMap
from threedrs_platform.sealed import write_sealed

SUFFIX = ".arrow"
HEADER = b"threedrs.features"
"""Schema metadata key; its value is the header as JSON."""
FINGERPRINTS = "fingerprint"
"""Column of what the images looked like; older files have none."""
MAX_OPEN = 2
"""Files that a folder keeps open. Pages of a map that were read count as memory of the process
until nobody holds the map; opening takes a third of a millisecond."""


@dataclass(frozen=True)
class FeatureHeader:
    """Where the features of one file come from."""

    teacher: str
    source_digest: str
    """sha256 of the teacher's weights"""
    licence: str
    preprocessing: str
    layer: int
    output: str = ""
    """which of the teacher's tensors the features are, in words"""


@dataclass(frozen=True)
class StoredFeatures:
    """One opened file: its features are a read-only view of the memory map."""

    header: FeatureHeader
    features: FeatureMap


def feature_path(root: Path, scene_id: str) -> Path:
    """Where a folder of features keeps a scene."""
    return root / f"{scene_id}{SUFFIX}"


def write_features(path: Path, features: FeatureMap, header: FeatureHeader) -> None:
    """Write float16 features and their header, sealed; the file appears whole or not at all.

    Raises:
        DataError: the values are not float16, or the frame names do not count the frames.
        StorageError: the disk refuses.
    """
    values = np.ascontiguousarray(features.features)
    if values.dtype != np.float16 or values.ndim != 4:
        raise DataError(
            f"scene {features.scene_id}: features must be [F, rows, columns, channels] float16, "
            f"are {list(values.shape)} {values.dtype}"
        )
    if len(features.frame_names) != len(values):
        raise DataError(
            f"scene {features.scene_id}: {len(features.frame_names)} frame names for "
            f"{len(values)} frames of features"
        )
    batch = _record_batch(features, values, header)

    def write(partial: Path) -> None:
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)

    try:
        write_sealed(path, write)
    except OSError as error:
        raise StorageError(f"{path}: cannot write features: {error}") from error


def read_features(path: Path) -> StoredFeatures:
    """Open a file without copying its values.

    Raises:
        ArtifactMissing: there is no such file.
        ArtifactCorrupt: the file is truncated, or no Arrow file.
        DataError: an Arrow file that holds no teacher features.
    """
    if not path.is_file():
        raise ArtifactMissing(f"{path}: no features here; extract them first")
    try:
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            metadata = reader.schema.metadata or {}
            batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactCorrupt(f"{path}: truncated, or no Arrow file: {error}") from error
    if HEADER not in metadata or len(batches) != 1:
        raise DataError(f"{path}: an Arrow file, but not one of teacher features")
    return _stored(json.loads(metadata[HEADER]), batches[0])


class FeatureFolder:
    """A folder of features with a bounded number of open files, least recently used first out."""

    def __init__(self, root: Path, max_open: int = MAX_OPEN) -> None:
        self.root, self.max_open = root, max_open
        self._open: OrderedDict[str, StoredFeatures] = OrderedDict()

    def scenes(self) -> list[str]:
        """Scene ids that the folder holds, sorted."""
        return sorted(path.name.removesuffix(SUFFIX) for path in self.root.glob(f"*{SUFFIX}"))

    def __getitem__(self, scene_id: str) -> FeatureMap:
        return self.stored(scene_id).features

    def stored(self, scene_id: str) -> StoredFeatures:
        """Header and features of a scene; errors as `read_features`."""
        if scene_id in self._open:
            self._open.move_to_end(scene_id)
            return self._open[scene_id]
        stored = read_features(feature_path(self.root, scene_id))
        self._open[scene_id] = stored
        if len(self._open) > self.max_open:
            self._open.popitem(last=False)
        return stored


def check_one_extraction(folder: FeatureFolder, scene_ids: Sequence[str]) -> FeatureHeader:
    """Refuse a folder in which scenes come from several teachers, layers, grids or settings.

    Returns:
        The header that all of them share.

    Raises:
        DataError: names two scenes that differ, and in what.
    """
    first = folder.stored(scene_ids[0])
    wanted = _settings(first)
    for scene_id in scene_ids[1:]:
        found = _settings(folder.stored(scene_id))
        if found != wanted:
            differing = [name for name, value in wanted.items() if found[name] != value]
            raise DataError(
                f"{folder.root}: features of several extractions: "
                + "; ".join(
                    f"{name} is {wanted[name]!r} for scene {scene_ids[0]}, {found[name]!r} for "
                    f"scene {scene_id}"
                    for name in differing
                )
            )
    return first.header


def _settings(stored: StoredFeatures) -> dict[str, object]:
    rows, columns, channels = stored.features.features.shape[1:]
    return {**asdict(stored.header), "grid": f"{rows}x{columns}", "channels": channels}


def check_frames(features: FeatureMap, frame_names: Sequence[str]) -> None:
    """Refuse features that were made from other frames than these.

    Raises:
        DataError: names the scene and the first frame that differs.
    """
    made_from = features.frame_names
    if tuple(frame_names) == made_from:
        return
    pairs = zip(made_from, frame_names, strict=False)
    for index, (theirs, ours) in enumerate(pairs):
        if theirs != ours:
            what = f"frame {index} is {ours!r}, the features were made from {theirs!r}"
            break
    else:
        what = f"it has {len(frame_names)} frames, the features have {len(made_from)}"
    raise DataError(f"scene {features.scene_id}: {what}; extract the features again")


def _record_batch(
    features: FeatureMap,
    values: np.ndarray[tuple[int, ...], np.dtype[np.float16]],
    header: FeatureHeader,
) -> pa.RecordBatch:
    shape = values.shape[1:]
    flat = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), int(np.prod(shape)))
    tensor = pa.fixed_shape_tensor(pa.float16(), shape)
    about = {
        **asdict(header),
        "scene_id": features.scene_id,
        "grid": list(shape[:2]),
        "dtype": "float16",
    }
    fields = [pa.field("frame", pa.string()), pa.field("features", tensor)]
    columns = [
        pa.array(features.frame_names, pa.string()),
        pa.ExtensionArray.from_storage(tensor, flat),
    ]
    if features.fingerprints is not None:
        fields.append(pa.field(FINGERPRINTS, pa.binary()))
        columns.append(pa.array([each.tobytes() for each in features.fingerprints], pa.binary()))
    schema = pa.schema(fields, metadata={HEADER: json.dumps(about, sort_keys=True)})
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _stored(about: dict[str, object], batch: pa.RecordBatch) -> StoredFeatures:
    column = batch.column("features")
    # The array keeps the map alive, so the file may be closed and even deleted.
    values = column.storage.flatten().to_numpy(zero_copy_only=True)
    features = FeatureMap(
        scene_id=str(about["scene_id"]),
        frame_names=tuple(batch.column("frame").to_pylist()),
        features=values.reshape(batch.num_rows, *column.type.shape),
        fingerprints=_fingerprints(batch),
    )
    header = FeatureHeader(
        teacher=str(about["teacher"]),
        source_digest=str(about["source_digest"]),
        licence=str(about["licence"]),
        preprocessing=str(about["preprocessing"]),
        layer=int(str(about["layer"])),
        output=str(about.get("output", "")),
    )
    return StoredFeatures(header, features)


def _fingerprints(batch: pa.RecordBatch) -> NDArray[np.uint8] | None:
    if FINGERPRINTS not in batch.schema.names:
        return None
    return np.stack([np.frombuffer(each, np.uint8) for each in batch[FINGERPRINTS].to_pylist()])


STATISTICS = "statistics.json"


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and deviation of every channel over all tokens of some scenes."""

    scene_ids: tuple[str, ...]
    """Sorted."""
    mean: NDArray[np.float64]
    """[channels]"""
    std: NDArray[np.float64]
    """[channels]"""
    tokens: int


def feature_statistics(folder: FeatureFolder, scene_ids: Sequence[str]) -> FeatureStatistics:
    """Accumulate the statistics of some scenes in float64, one scene in memory at a time.

    Raises:
        DataError: there is no scene.
    """
    if not scene_ids:
        raise DataError("statistics need the features of at least one scene")
    tokens, total, squares = 0, np.float64(0), np.float64(0)
    for scene_id in sorted(scene_ids):
        features = folder[scene_id].features
        values = features.reshape(-1, features.shape[-1]).astype(np.float64)
        tokens += len(values)
        total, squares = total + values.sum(0), squares + (values**2).sum(0)
    mean = np.asarray(total / tokens)
    variance = np.maximum(squares / tokens - mean**2, 0)  # rounding could leave it below zero
    return FeatureStatistics(tuple(sorted(scene_ids)), mean, np.sqrt(variance), tokens)


def write_statistics(folder: Path, scene_ids: Sequence[str]) -> FeatureStatistics:
    """Compute the statistics of some scenes of a feature folder and store them beside the files."""
    statistics = feature_statistics(FeatureFolder(folder, max_open=1), scene_ids)
    content = {
        "scenes": statistics.scene_ids,
        "mean": statistics.mean.tolist(),
        "std": statistics.std.tolist(),
        "tokens": statistics.tokens,
    }
    (folder / STATISTICS).write_text(json.dumps(content))
    return statistics


def read_statistics(folder: Path) -> FeatureStatistics:
    """The statistics that `write_statistics` stored.

    Raises:
        DataError: there are none.
    """
    path = folder / STATISTICS
    if not path.is_file():
        raise DataError(f"{path}: no statistics of the features here")
    content = json.loads(path.read_text())
    return FeatureStatistics(
        tuple(content["scenes"]),
        np.asarray(content["mean"]),
        np.asarray(content["std"]),
        int(content["tokens"]),
    )


def statistics_of(folder: FeatureFolder, scene_ids: Sequence[str]) -> FeatureStatistics:
    """Statistics of these very scenes: the stored ones if they are of these, else computed."""
    if (folder.root / STATISTICS).is_file():
        stored = read_statistics(folder.root)
        if stored.scene_ids == tuple(sorted(scene_ids)):
            return stored
    return feature_statistics(folder, scene_ids)
