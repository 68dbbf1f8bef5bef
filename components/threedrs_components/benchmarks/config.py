"""Which benchmarks are evaluated, on which files, in which words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, PositiveInt, create_model, field_validator

from threedrs_components.benchmarks.annotation_files import AnnotationPlaces
from threedrs_components.benchmarks.asking import Asking, CandidateChoice, MissingScenes
from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.registry import BENCHMARKS, QUESTION_SETS
from threedrs_components.benchmarks.scorer import DEFAULT_METRICS, Scorer, TextMetric
from threedrs_components.benchmarks.wording import Wording
from threedrs_platform.config import Config
from threedrs_platform.config.suggestions import did_you_mean, nearest_and_all


def _known(name: str) -> str:
    if name in QUESTION_SETS:
        raise ValueError(f"{name} has no evaluation, it is learned: name it in benchmarks.training")
    if name not in BENCHMARKS:
        raise ValueError(f"no benchmark {name!r}{nearest_and_all(name, BENCHMARKS)}")
    return name


def _learnable(name: str) -> str:
    return name if name in QUESTION_SETS else _known(name)


BenchmarkName = Annotated[str, AfterValidator(_known)]
TrainingName = Annotated[str, AfterValidator(_learnable)]
ASKED = (*BENCHMARKS, *QUESTION_SETS)
"""Whatever has prompts."""


def _loader(name: str) -> type[Loader]:
    return QUESTION_SETS[name].loader if name in QUESTION_SETS else BENCHMARKS[name].loader


def _templates(name: str) -> dict[str, str]:
    """Names under which a grid writes a benchmark's templates -> fields of its loader."""
    fields = _loader(name).model_fields
    return {name + field.removeprefix("prompt"): field for field in fields if field != "kind"}


def _template_fields() -> dict[str, Any]:
    return {
        key: (field.rebuild_annotation(), field.default)
        for name in ASKED
        for key, own in _templates(name).items()
        for field in (_loader(name).model_fields[own],)
    }


if TYPE_CHECKING:
    PromptConfig = Wording
else:
    PromptConfig = create_model("PromptConfig", __base__=Wording, **_template_fields())


C = TypeVar("C", bound=Config)


def _part(config: Config, base: type[C]) -> C:
    """The fields that a configuration has from a class above it, as a value of that class."""
    return base.model_validate({name: getattr(config, name) for name in base.model_fields})


class BenchmarksConfig(AnnotationPlaces):
    """Training tasks and evaluations of a student."""

    names: tuple[BenchmarkName, ...] = Field(
        default=("scanrefer", "scan2cap", "scanqa"), min_length=1
    )
    """Benchmarks that the student is evaluated on, and, unless `training` says otherwise,
    learns."""
    training: tuple[TrainingName, ...] | None = None
    """Those whose training split is learned, and sets of questions that are never scored (spar,
    llava_hound, conversations); None is all of `names`."""
    split: str = "val"
    """The split that is evaluated; training always reads "train"."""
    splits: dict[BenchmarkName, str] = Field(default_factory=dict)
    """Other splits for single benchmarks, e.g. {sqa3d: test}."""
    protocols: dict[BenchmarkName, str] = Field(default_factory=dict)
    """How a benchmark is scored, where it is not by its first protocol."""
    missing_scenes: MissingScenes = "refuse"
    """Questions on scenes that are not there: refuse to go on, or leave_out of the score, counted
    and shown by data set. They never count as wrong."""
    candidates: CandidateChoice = "proposals"
    """Boxes among which an evaluated scene is grounded; ground_truth is an oracle."""
    max_new_tokens: PositiveInt | None = 64
    """Longest answer that is decoded, where a benchmark has no lower limit of its own; None is
    the benchmark's released limit, 512 for most."""
    prompts: PromptConfig = PromptConfig()
    """Text that follows the visual prefix: what all prompts share, and a template or two for each
    benchmark, under its name."""
    text_metrics: tuple[TextMetric, ...] = DEFAULT_METRICS
    """Of captions and answers; "meteor" needs the `eval` extra."""
    meteor: Literal["as_listed", "if_installed"] = "as_listed"
    """if_installed adds METEOR to text_metrics where the `eval` extra is; where it is not, the step
    that scores and the report say that there is none."""

    @field_validator("names", "training")
    @classmethod
    def _each_once(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = sorted({name for name in names or () if (names or ()).count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands here twice")
        return names

    @field_validator("protocols")
    @classmethod
    def _protocols_exist(cls, protocols: dict[str, str]) -> dict[str, str]:
        faults = [
            f"{name} has no protocol {protocol!r}{did_you_mean(protocol, known)}"
            for name, protocol in protocols.items()
            if protocol not in (known := BENCHMARKS[name].protocols)
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return protocols

    def split_of(self, name: str) -> str:
        """The split of one benchmark that is evaluated."""
        return self.splits.get(name, self.split)

    def trained(self) -> tuple[str, ...]:
        """Benchmarks whose training split is learned."""
        return self.names if self.training is None else self.training

    def idle_prompts(self) -> tuple[str, ...]:
        """Templates of benchmarks that are neither trained nor evaluated."""
        busy = {*self.names, *self.trained()}
        return tuple(key for name in ASKED if name not in busy for key in _templates(name))

    def places(self) -> AnnotationPlaces:
        """Where annotations lie that the scenes do not bring."""
        return _part(self, AnnotationPlaces)

    def wording(self) -> Wording:
        """What all prompts share."""
        return _part(self.prompts, Wording)

    def loader(self, name: str) -> Loader:
        """The loader of one benchmark, with its templates."""
        templates = {own: getattr(self.prompts, key) for key, own in _templates(name).items()}
        return _loader(name).model_validate(templates)

    def scorer(self, name: str) -> Scorer:
        """The scorer of one benchmark, by the protocol that is chosen."""
        kind = BENCHMARKS[name]()
        protocol = self.protocols.get(name, kind.default_protocol)
        return kind.scorer(protocol=protocol, text_metrics=self.text_metrics)

    def asking(self, name: str) -> Asking:
        """How one benchmark's questions are put."""
        limit = BENCHMARKS[name].max_new_tokens
        return Asking(
            max_new_tokens=min(self.max_new_tokens or limit, limit),
            frames_only=BENCHMARKS[name].frames_only,
            candidates=self.candidates,
        )
