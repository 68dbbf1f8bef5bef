"""Linear probes of a world: fitted on some of its scenes, read on others, place by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from threedrs_components.probing.config import ProbeConfig, Reading
from threedrs_components.probing.position import Floats, LinearProbe, linear_probe
from threedrs_components.students.places import Place
from threedrs_platform.errors import DataError
from threedrs_platform.records import Metric

THINGS: Mapping[Reading, str] = {"position": "object", "depth": "cell", "normals": "cell"}
"""What each probe reads something of."""


@dataclass(frozen=True)
class Things:
    """Objects or cells of one scene, row by row."""

    scene_id: str
    truths: Mapping[Reading, Floats]
    """[N, A] values of what is read of them"""
    content_free: Floats
    """[N, B]: where in which frame they are seen, and nothing else"""
    features: Mapping[Place, Floats]
    """[N, C] at each place"""


class LinearProbes:
    """Ridge regressions of things that are seen in some scenes, read on those of others."""

    def __init__(
        self,
        fit: Mapping[Reading, Sequence[Things]],
        test: Mapping[Reading, Sequence[Things]],
        config: ProbeConfig,
    ) -> None:
        self._fit, self._test, self._config = fit, test, config
        self._controls: dict[Reading, LinearProbe] = {}

    @property
    def readings(self) -> tuple[Reading, ...]:
        """What there is anything to fit of."""
        return tuple(
            reading
            for reading, things in self._fit.items()
            if any(len(each.content_free) for each in things)
        )

    def in_full(self, place: Place) -> list[Metric]:
        """R2 of everything at a place, on average and per axis, and of the controls."""
        metrics = []
        for reading in self.readings:
            probe, control = self.read(reading, place), self.control(reading)
            metrics += [
                self._metric(reading, probe),
                *(
                    Metric(f"{self.name(reading)}/{axis}", value, probe.n_test, unit="R2")
                    for axis, value in zip(self._axes(reading), probe.r2, strict=False)
                ),
                Metric(
                    f"{self.name(reading)}/content_free",
                    control.mean_r2,
                    control.n_test,
                    unit="R2",
                    chance=0.0,
                ),
            ]
        return metrics

    def in_short(self, place: Place) -> list[Metric]:
        """R2 of everything at a place, on average."""
        return [self._metric(reading, self.read(reading, place)) for reading in self.readings]

    def name(self, reading: Reading) -> str:
        """What the metric of a probe is called."""
        suffix = f"_{self._config.position_axes}" if reading == "position" else ""
        return f"probe/{reading}{suffix}"

    def read(self, reading: Reading, place: Place) -> LinearProbe:
        """What is read of the states of a place."""
        fit, test = (
            [each.features[place] for each in part[reading]] for part in (self._fit, self._test)
        )
        return self._probe(reading, fit, test)

    def control(self, reading: Reading) -> LinearProbe:
        """What is read without looking: the same at every place."""
        if reading not in self._controls:
            fit, test = (
                [each.content_free for each in part[reading]] for part in (self._fit, self._test)
            )
            self._controls[reading] = self._probe(reading, fit, test)
        return self._controls[reading]

    def _metric(self, reading: Reading, probe: LinearProbe) -> Metric:
        return Metric(
            self.name(reading),
            probe.mean_r2,
            probe.n_test,
            unit="R2",
            chance=self.control(reading).mean_r2,
            ci95=probe.interval,
        )

    def _axes(self, reading: Reading) -> str:
        """Names of the axes that are reported one by one; none of a single one."""
        named = {"position": self._config.position_axes, "normals": "xyz"}
        return named.get(reading, "")

    def _probe(
        self, reading: Reading, fit: Sequence[Floats], test: Sequence[Floats]
    ) -> LinearProbe:
        axes = len(self._config.position_axes) if reading == "position" else None

        def truths(things: Sequence[Things]) -> Floats:
            known: Floats = np.concatenate([each.truths[reading] for each in things])[:, :axes]
            return known

        read = np.concatenate(test)
        if not len(read):
            raise DataError(f"no {THINGS[reading]} is visible in the scenes of the {reading} probe")
        return linear_probe(
            np.concatenate(fit),
            truths(self._fit[reading]),
            read,
            truths(self._test[reading]),
            scenes_fit=_scenes(self._fit[reading]),
            scenes_test=_scenes(self._test[reading]),
            ridge=self._config.ridge,
            folds=self._config.folds,
        )


def _scenes(things: Sequence[Things]) -> list[str]:
    """Scene of each row."""
    return [each.scene_id for each in things for _ in range(len(each.content_free))]
