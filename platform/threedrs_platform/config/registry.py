"""The registry of a component's kinds: what may stand in a grid file, and where its code is.

Each package of components has one in `registry.py`. Steps never import it: they are told the module
of their kind (see `kinds.py`), so that a newcomer changes no other kind's results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from threedrs_platform.config import Config
from threedrs_platform.config.faults import validate
from threedrs_platform.config.kinds import kinds_of
from threedrs_platform.config.suggestions import nearest_and_all
from threedrs_platform.errors import ConfigError, Fault

C = TypeVar("C", bound=Config)


class Registry(Mapping[str, type[C]], Generic[C]):
    """Configuration classes by the name of their kind, in the order they are listed in."""

    def __init__(self, what: str, classes: tuple[type[C], ...]) -> None:
        """List the kinds.

        Args:
            what: one of them in messages, e.g. "teacher".
            classes: each with a field `kind`; one class may have several names.
        """
        self.what = what
        self._classes: dict[str, type[C]] = {}
        for each in classes:
            for kind in kinds_of(each):
                other = self._classes.setdefault(kind, each)
                assert other is each, f"{other.__name__} and {each.__name__} are both {what} {kind}"

    def __getitem__(self, kind: str) -> type[C]:
        return self._classes[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def module(self, kind: str) -> str:
        """Name of the module that holds a kind."""
        return self[kind].__module__

    def read(self, settings: Mapping[str, Any]) -> C:
        """Settings with their `kind` as a configuration.

        Raises:
            ConfigError: no such kind, or a wrong setting; all faults at once.
        """
        kind = str(settings.get("kind"))
        if kind not in self:
            message = f"no {self.what} {kind!r}{nearest_and_all(kind, self)}"
            raise ConfigError([Fault(message, self.what)])
        return validate(self[kind], dict(settings), prefix=(self.what,))
