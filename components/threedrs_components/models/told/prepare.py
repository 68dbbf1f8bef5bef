"""What step "prepare" is told, as far as readers of the student need it."""

from __future__ import annotations

from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_platform.config import Config
from threedrs_platform.config.kinds import Chosen


class PreparedAs(Config):
    """How scenes are reduced to what the student reads."""

    prepare: PrepareConfig
    scenes: Chosen
    """What opens the scenes artifact."""
