"""The benchmarks, one file each: annotations in, samples out; predictions in, metrics out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from threedrs_components.benchmarks.boxes import AnnotationFolder
from threedrs_components.benchmarks.config import BenchmarksConfig
from threedrs_components.benchmarks.label_map import LabelMap, read_label_map
from threedrs_components.benchmarks.multi3drefer import Multi3DRefer
from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_components.benchmarks.scan2cap import Scan2Cap
from threedrs_components.benchmarks.scanqa import ScanQA
from threedrs_components.benchmarks.scanrefer import ScanRefer
from threedrs_platform.contracts import Benchmark
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.suggestions import did_you_mean

__all__ = [
    "BENCHMARKS",
    "AnnotationFolder",
    "BenchmarksConfig",
    "LabelMap",
    "PromptConfig",
    "load_benchmark",
    "open_benchmarks",
    "read_label_map",
]

BENCHMARKS: dict[str, Callable[[AnnotationFolder, PromptConfig], Benchmark]] = {
    "scanrefer": ScanRefer,
    "multi3drefer": Multi3DRefer,
    "scan2cap": Scan2Cap,
    "scanqa": ScanQA,
}
"""Name to class. Each takes an annotation folder and prompts, and keeps the Benchmark contract."""


def load_benchmark(
    name: str,
    root: Path | AnnotationFolder,
    prompts: PromptConfig | None = None,
) -> Benchmark:
    """A benchmark over the annotation files of a folder.

    Raises:
        ConfigError: there is no benchmark of this name.
    """
    if name not in BENCHMARKS:
        fault = Fault(f"unknown benchmark {name!r}{did_you_mean(name, BENCHMARKS)}")
        raise ConfigError([fault])
    folder = root if isinstance(root, AnnotationFolder) else AnnotationFolder(Path(root))
    return BENCHMARKS[name](folder, prompts or PromptConfig())


def open_benchmarks(config: BenchmarksConfig, scenes: Path) -> dict[str, Benchmark]:
    """The configured benchmarks by name; `scenes` is the folder of the scenes artifact."""
    folder = AnnotationFolder(
        root=Path(config.annotations) if config.annotations else scenes,
        box_file=Path(config.box_file) if config.box_file else None,
        label_map=read_label_map(Path(config.label_map)) if config.label_map else None,
    )
    return {name: load_benchmark(name, folder, config.prompts) for name in config.names}
