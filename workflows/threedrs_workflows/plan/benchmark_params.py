"""What the steps that make samples and that judge answers are told of the benchmarks."""

from __future__ import annotations

from collections.abc import Mapping

from threedrs_components.benchmarks.config import BenchmarksConfig
from threedrs_components.benchmarks.held_out import HeldOut
from threedrs_components.metrics.meteor.data import ABSENT, installed_versions
from threedrs_components.models.told.samples import Evaluated
from threedrs_platform.config.kinds import choose
from threedrs_workflows.steps.params.samples import SamplesParams
from threedrs_workflows.steps.params.score import ScoreParams


def samples_params(
    config: BenchmarksConfig,
    content: Mapping[str, str] | None = None,
    held_out: HeldOut | None = None,
) -> SamplesParams:
    """What makes the samples of some benchmarks; nothing of how they are answered or scored.

    Args:
        config: the benchmarks.
        content: digests of annotation files outside the scenes, by setting.
        held_out: which scenes are evaluated in place of a split.
    """
    loaders = {name: choose(config.loader(name)) for name in (*config.trained(), *config.names)}
    return SamplesParams(
        trained=tuple(loaders[name] for name in config.trained()),
        evaluated=tuple(
            Evaluated(loader=loaders[name], split=config.split_of(name)) for name in config.names
        ),
        wording=config.wording(),
        candidates=config.candidates,
        places=config.places(),
        content=dict(content or {}),
        held_out=held_out,
        missing_scenes=config.missing_scenes,
    )


def score_params(config: BenchmarksConfig) -> ScoreParams:
    """What judges the answers to some benchmarks."""
    scorers, versions = [config.scorer(name) for name in config.names], installed_versions()
    optional = config.meteor == "if_installed" and any(each.compares_texts for each in scorers)
    if optional and ABSENT not in versions.values():
        scorers = [scorer.with_meteor() for scorer in scorers]
    # That they are absent is part of the key, too: with them there will be another number.
    packages = versions if optional or any(scorer.uses_meteor for scorer in scorers) else {}
    return ScoreParams(scorers=tuple(map(choose, scorers)), packages=packages)
