"""What a grid may ask of Slurm for one kind of step: `steps.KIND.slurm`."""

from __future__ import annotations

import re
from typing import Any

from pydantic import PositiveInt, field_validator

from threedrs_platform.config import Config

WORD = re.compile(r"[\w.,:=@%+*|&()\[\]/-]+")
EXTRA = re.compile(r"--[a-z][a-z-]*(=[^\x00-\x1f\x7f]*)?")
OURS = frozenset(
    {"array", "chdir", "error", "input", "job-name", "nodes", "ntasks", "open-mode", "output"}
    | {"parsable", "requeue", "no-requeue", "signal", "test-only", "wait", "wrap"}
)
"""Options of sbatch that say how jobs and run belong together."""


class SlurmSettings(Config):
    """Options of the jobs that do one kind of step. Where it runs, never what it yields."""

    partition: str | None = None
    """As sbatch's `--partition`."""
    account: str | None = None
    """As sbatch's `--account`: who pays."""
    qos: str | None = None
    """As sbatch's `--qos`."""
    constraint: str | None = None
    """As sbatch's `--constraint`: features that a node must have."""
    time: str | None = None
    """Time limit of a job, as Slurm writes it; steps that need longer go on in the next job."""
    gres: str | None = None
    """null: the step's GPUs, as `gpu:N`."""
    max_jobs: PositiveInt = 32
    """Most jobs at a time for this kind of step."""
    grace_s: PositiveInt = 120
    """Seconds before the time limit in which a step stops at its checkpoint."""
    extra: tuple[str, ...] = ()
    """Further options of sbatch, each as `--name` or `--name=value`."""

    @field_validator("partition", "account", "qos", "constraint", "time", "gres")
    @classmethod
    def _one_word(cls, value: str | None) -> str | None:
        if value is not None and not WORD.fullmatch(value):
            raise ValueError(f"{value!r}: expected one word, as sbatch takes it")
        return value

    @field_validator("time")
    @classmethod
    def _is_time(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", value):
            raise ValueError(f"{value!r}: expected minutes, [H:]MM:SS or D-H[:MM[:SS]]")
        return value

    @field_validator("extra")
    @classmethod
    def _options(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            check_option(value)
        return values

    def as_option(self) -> dict[str, Any]:
        """As a run keeps it: what differs from the defaults."""
        return self.model_dump(mode="json", exclude_defaults=True)


def check_option(text: str) -> None:
    """Refuse what is no option of sbatch, or one that is not the user's to choose.

    Raises:
        ValueError: says what is wrong.
    """
    if not EXTRA.fullmatch(text):
        raise ValueError(f"{text!r}: expected an option of sbatch, as `--name` or `--name=value`")
    name = text[2:].partition("=")[0]
    if name in OURS:
        raise ValueError(f"{text!r}: workflows sets --{name} itself")
