"""All objectives with their weights: the registry, and the one answer to "is this on?".

Steps never import it: they are told the settings and modules of the objectives that are on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from threedrs_components.objectives.alignment.config import AlignmentConfig
from threedrs_components.objectives.correspondence import CorrespondenceConfig
from threedrs_components.objectives.depth import DepthConfig
from threedrs_components.objectives.gram import GramConfig
from threedrs_components.objectives.grounding import GroundingConfig
from threedrs_components.objectives.ray import RayConfig
from threedrs_components.objectives.reconstruction.config import ReconstructionConfig
from threedrs_components.objectives.settings import Direction, ObjectiveSettings
from threedrs_components.objectives.text import TextConfig
from threedrs_platform.config import Config


class ObjectivesConfig(Config):
    """Every objective. Losses are added up in this order, so a newcomer stands at the end."""

    text: TextConfig = TextConfig()
    grounding: GroundingConfig = GroundingConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    correspondence: CorrespondenceConfig = CorrespondenceConfig()
    gram: GramConfig = GramConfig()
    depth: DepthConfig = DepthConfig()
    ray: RayConfig = RayConfig()
    reconstruction: ReconstructionConfig = ReconstructionConfig()

    def objectives(self) -> tuple[ObjectiveSettings, ...]:
        """All of them, on or off."""
        return tuple(getattr(self, name) for name in ObjectivesConfig.model_fields)

    def active(self, *, has_teacher: bool) -> tuple[ObjectiveSettings, ...]:
        """Those that take part in training: they are on, and have the teacher that they read."""
        return tuple(
            each
            for each in self.objectives()
            if each.is_on and (has_teacher or not each.reads_teacher)
        )

    def taking_part(self, losses: Mapping[str, Any], *, has_teacher: bool) -> dict[str, Any]:
        """Those JSON values of all objectives, by name, that have an effect.

        Of an objective that is off the weight 0 is left, of one that lacks its teacher nothing.
        """
        active = {each.name for each in self.active(has_teacher=has_teacher)}
        return {
            each.name: losses[each.name] if each.name in active else {"weight": 0.0}
            for each in self.objectives()
            if each.name in active or not each.reads_teacher
        }


OBJECTIVES = {each.name: type(each) for each in ObjectivesConfig().objectives()}
"""Configuration classes by name."""

VALIDATION_CURVES: dict[str, Direction] = {
    "validation/loss": "minimize",
    **{
        name: better
        for each in ObjectivesConfig().objectives()
        for name, better in each.validation_curves.items()
    },
}
"""What looks at held-out scenes draw, and which way is better."""


def objectives_told(params: Mapping[str, Any]) -> ObjectivesConfig:
    """The objectives as a cell's dotted parameters tell them; the rest is at its default.

    Settings that there are no more are left out, too, and so are nested ones: neither says whether
    an objective takes part, or whose it is.
    """
    told = {
        name: {
            field: params[f"{name}.{field}"]
            for field in kind.model_fields
            if params.get(f"{name}.{field}") is not None
        }
        for name, kind in OBJECTIVES.items()
    }
    return ObjectivesConfig.model_validate(told)
