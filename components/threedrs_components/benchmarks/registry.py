"""The registry of benchmarks: a new one is its folder or file, and its name here.

No step imports it: see `benchmark.py`.
"""

from __future__ import annotations

from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.blink import BLINK
from threedrs_components.benchmarks.conversations.config import Conversations
from threedrs_components.benchmarks.embspatial import EmbSpatial
from threedrs_components.benchmarks.llava_hound.config import LlavaHound
from threedrs_components.benchmarks.mindcube import MindCube
from threedrs_components.benchmarks.mmsi import MMSI
from threedrs_components.benchmarks.multi3drefer.config import Multi3DRefer
from threedrs_components.benchmarks.question_set import QuestionSet
from threedrs_components.benchmarks.revsi.config import ReVSI
from threedrs_components.benchmarks.scan2cap.config import Scan2Cap
from threedrs_components.benchmarks.scanqa.config import ScanQA
from threedrs_components.benchmarks.scanrefer.config import ScanRefer
from threedrs_components.benchmarks.spar.config import Spar
from threedrs_components.benchmarks.sqa3d.config import SQA3D
from threedrs_components.benchmarks.viewspatial import ViewSpatial
from threedrs_components.benchmarks.vsibench.config import VSIBench
from threedrs_platform.config.registry import Registry
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, Fault

BENCHMARKS: Registry[Benchmark] = Registry(
    "benchmark",
    (
        ScanRefer,
        Multi3DRefer,
        Scan2Cap,
        ScanQA,
        SQA3D,
        VSIBench,
        ReVSI,
        MindCube,
        ViewSpatial,
        EmbSpatial,
        BLINK,
        MMSI,
    ),
)


QUESTION_SETS: Registry[QuestionSet] = Registry("question set", (Spar, LlavaHound, Conversations))
"""What can be learned beside the training splits of benchmarks, and is never scored."""


def benchmark_named(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
        ConfigError: there is none; suggests the nearest.
    """
    if name not in BENCHMARKS:
        fault = Fault(f"unknown benchmark {name!r}{did_you_mean(name, BENCHMARKS)}")
        raise ConfigError([fault])
    return BENCHMARKS[name]()
