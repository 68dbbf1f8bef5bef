"""The benchmarks, one file each: annotations in, samples out; predictions in, metrics out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from threedrs_components.benchmarks.annotation_files import AnnotationFolder
from threedrs_components.benchmarks.asking import Asking
from threedrs_components.benchmarks.config import BenchmarkName, BenchmarksConfig
from threedrs_components.benchmarks.kinds import AnnotatedBenchmark, BenchmarkKind
from threedrs_components.benchmarks.label_map import LabelMap, read_label_map
from threedrs_components.benchmarks.multi3drefer import MULTI3DREFER
from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_components.benchmarks.scan2cap import SCAN2CAP
from threedrs_components.benchmarks.scanqa import SCANQA
from threedrs_components.benchmarks.scanrefer import SCANREFER
from threedrs_components.benchmarks.sqa3d import SQA3D
from threedrs_components.benchmarks.vsibench import VSIBENCH
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.contracts import Benchmark
from threedrs_platform.errors import ConfigError, Fault

__all__ = [
    "BENCHMARKS",
    "AnnotationFolder",
    "BenchmarkKind",
    "BenchmarksConfig",
    "LabelMap",
    "PromptConfig",
    "asking",
    "benchmark_kind",
    "load_benchmark",
    "open_benchmarks",
    "read_label_map",
]

BENCHMARKS: dict[str, BenchmarkKind] = {
    kind.name: kind for kind in (SCANREFER, MULTI3DREFER, SCAN2CAP, SCANQA, SQA3D, VSIBENCH)
}


def benchmark_kind(name: str) -> BenchmarkKind:
    """The benchmark of a name.

    Raises:
        ConfigError: there is none; suggests the nearest.
    """
    if name not in BENCHMARKS:
        fault = Fault(f"unknown benchmark {name!r}{did_you_mean(name, BENCHMARKS)}")
        raise ConfigError([fault])
    return BENCHMARKS[name]


def load_benchmark(
    name: str, root: Path | AnnotationFolder, prompts: PromptConfig | None = None
) -> Benchmark:
    """A benchmark over the annotation files of a folder.

    Raises:
        ConfigError: there is no benchmark of this name.
    """
    folder = root if isinstance(root, AnnotationFolder) else AnnotationFolder(Path(root))
    return AnnotatedBenchmark(benchmark_kind(name), folder, prompts or PromptConfig())


def open_benchmarks(
    config: BenchmarksConfig, scenes: Path, names: Sequence[BenchmarkName] | None = None
) -> dict[str, Benchmark]:
    """The configured benchmarks by name, or those of `names`.

    Args:
        config: where the annotations are, and how they are worded and scored.
        scenes: the folder of the scenes artifact; holds proposals, too.
        names: None is all that are evaluated.
    """
    folder = AnnotationFolder(
        root=Path(config.annotations) if config.annotations else scenes,
        box_file=Path(config.box_file) if config.box_file else None,
        label_map=read_label_map(Path(config.label_map)) if config.label_map else None,
        scene_proposals=scenes / "proposals",
        oracle=config.candidates == "ground_truth",
    )
    return {
        name: AnnotatedBenchmark(
            benchmark_kind(name),
            folder,
            config.prompts,
            config.protocols.get(name, ""),
            config.text_metrics,
        )
        for name in (config.names if names is None else names)
    }


def asking(config: BenchmarksConfig) -> dict[str, Asking]:
    """How the evaluated benchmarks put their questions, by name."""
    kinds = [benchmark_kind(name) for name in config.names]
    return {
        kind.name: Asking(
            max_new_tokens=min(config.max_new_tokens or kind.max_new_tokens, kind.max_new_tokens),
            frames_only=kind.frames_only,
            candidates=config.candidates,
        )
        for kind in kinds
    }
