"""What a URL asks for and is not there: shown as a page that says what there is instead."""

from __future__ import annotations

from threedrs_platform.errors import ConfigError, Fault


class Missing(ConfigError):
    """A URL names something that the store does not hold; the message says what would do."""

    def __init__(self, message: str) -> None:
        super().__init__([Fault(message)])
