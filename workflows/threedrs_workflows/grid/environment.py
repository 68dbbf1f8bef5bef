"""Variables of the environment in grids and presets: declared under `env:`, used as ${NAME}."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from threedrs_platform.config.strict_yaml import Document, KeyPath
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import Fault

SECTION = "env"
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NOTHING: Mapping[str, str] = MappingProxyType({})


def fill_in(
    document: Document, faults: list[Fault], given: Mapping[str, str] = _NOTHING
) -> tuple[dict[str, str], dict[str, Any]]:
    """Values of the declared variables, and the data with them filled in.

    Args:
        document: its section `env` declares variables, each with a default or null.
        faults: grows by variables that are used without being declared, or have no value.
        given: values from elsewhere; they go before environment and defaults.
    """
    declared = document.data.get(SECTION)
    env: dict[str, str] = {}
    for name, default in declared.items() if isinstance(declared, dict) else ():
        value = given.get(name, os.environ.get(name, default))
        if isinstance(value, str):
            env[name] = value
        elif value is None:
            message = f"environment variable {name} is not set, and it has no default here"
            faults.append(document.fault(message, (SECTION, name), of_key=True))
            env[name] = ""

    def fill(value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: fill(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [fill(item, (*path, index)) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        for name in _VARIABLE.findall(value):
            if name not in env:
                hint = did_you_mean(name, env) if env else ""
                message = f"${{{name}}}: declare the variable under `env:` first{hint}"
                faults.append(document.fault(message, path))
        return _VARIABLE.sub(lambda match: env.get(match[1], match[0]), value)

    data = document.data.items()
    return env, {key: value if key == SECTION else fill(value, (key,)) for key, value in data}
