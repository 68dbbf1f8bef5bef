"""ScanQA: its halves, its protocols, and its ranked lists of answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from threedrs_components.benchmarks.annotations import Identifier, Record, parse_records
from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.evaluator_format import EvaluatorFormat, PredictionFile
from threedrs_components.benchmarks.scanqa.loader import ScanQALoader
from threedrs_components.benchmarks.scanqa.scorer import ScanQAScorer
from threedrs_components.benchmarks.threedrs_lines import TextLine, result_lines
from threedrs_platform.records import Prediction


class _Item(Record):
    question_id: Identifier
    answer_top10: list[str] = Field(min_length=1)


def _read_ranked(values: Any, path: Path, kind: str) -> PredictionFile:
    items = parse_records(values, _Item, path)
    predictions = [Prediction(item.question_id, texts=tuple(item.answer_top10)) for item in items]
    return PredictionFile("scanqa", predictions)


class ScanQA(Benchmark):
    """Answer a free question about a scene."""

    kind: Literal["scanqa"] = "scanqa"
    loader = ScanQALoader
    scorer = ScanQAScorer
    protocols: ClassVar = {
        "3drs": "raw texts; only trailing dots are dropped, for the n-gram scores",
        "official": "ScanQA's script: raw exact match, PTB tokens for the n-gram scores",
        "leo": "cleaned texts on both sides, exact and refined match",
        "chat_scene": "cleaned prediction against raw references, exact and refined match, PTB "
        "tokens",
    }
    takes = ("text", "texts")
    formats = (
        result_lines(TextLine, several_answers=True),
        EvaluatorFormat("scanqa", _Item, _read_ranked),
    )
