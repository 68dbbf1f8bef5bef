"""How gradients become updates: one process, DDP, or DeepSpeed ZeRO. No Ray here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, distributed, nn

from threedrs_components.students.dtypes import exact_buffers, put_back
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.data import MicroBatch
from threedrs_components.training.objective import Totals, TrainingModule
from threedrs_components.training.optimizers import make_optimizer
from threedrs_components.training.parameter_groups import ParameterGroup
from threedrs_platform.errors import CheckpointError

STATE_FILE = "state.pt"
Parts = dict[str, float]


@dataclass(frozen=True)
class World:
    """This process among all that train together."""

    rank: int = 0
    size: int = 1


class Strategy(Protocol):
    """Owns optimizer and gradients of one training module."""

    def accumulate(self, micro: MicroBatch, totals: Totals, is_last: bool) -> tuple[Tensor, Parts]:
        """Run one micro-batch forwards and backwards."""
        ...

    def update(self, schedule: float) -> float:
        """Step with `schedule` times the peak rates; returns the gradient norm before clipping."""
        ...

    def save(self, folder: Path) -> None:
        """Write this rank's state; called on every rank."""
        ...

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote, for the same world size."""
        ...

    def weights(self) -> AbstractContextManager[None]:
        """Inside, the module holds its full weights."""
        ...


class Replicated:
    """Full weights and optimizer on every rank: one process, or DDP."""

    def __init__(
        self,
        module: TrainingModule,
        groups: Sequence[ParameterGroup],
        config: TrainingConfig,
        world: World,
    ) -> None:
        self.module, self.clip, self.world = module, config.clip, world
        self.dtype = config.dtype
        self.device = next(module.parameters()).device
        self.runner: nn.Module = module
        if world.size > 1:
            # A batch without grounding or text leaves parameters unused on one rank only.
            self.runner = nn.parallel.DistributedDataParallel(module, find_unused_parameters=True)
        self.optimizer = make_optimizer(groups, config)
        self.peaks = [group.learning_rate for group in groups]

    def accumulate(self, micro: MicroBatch, totals: Totals, is_last: bool) -> tuple[Tensor, Parts]:
        """DDP averages over ranks, and the loss is already a share of the whole: scale it back."""
        with self._without_exchange(is_last):
            with autocast(self.device, self.dtype):
                loss, parts = self.runner(micro, totals)
            (loss * self.world.size).backward()
        return loss.detach(), parts

    def update(self, schedule: float) -> float:
        """Clip, step, forget the gradients."""
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * schedule
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.clip, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(norm)

    def save(self, folder: Path) -> None:
        """All ranks are equal, so the first one writes; what never changes is not written."""
        if self.world.rank == 0:
            learning = {name: weights.detach() for name, weights in self._learning().items()}
            state = {"module": learning, "optimizer": self.optimizer.state_dict()}
            torch.save(state, folder / STATE_FILE)

    def load(self, folder: Path) -> None:
        """Restore weights and moments."""
        try:
            state = torch.load(folder / STATE_FILE, weights_only=True, map_location=self.device)
            if missing := self._learning().keys() ^ state["module"].keys():
                raise ValueError(f"other weights learned then, e.g. {min(missing)}")
            self.module.load_state_dict(state["module"], strict=False)
            self.optimizer.load_state_dict(state["optimizer"])
        except (OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
            raise CheckpointError(f"{folder}: state does not fit: {error}") from error

    def weights(self) -> AbstractContextManager[None]:
        """They always are."""
        return nullcontext()

    def _learning(self) -> dict[str, nn.Parameter]:
        """Weights that change."""
        named = self.module.named_parameters()
        return {name: parameter for name, parameter in named if parameter.requires_grad}

    def _without_exchange(self, is_last: bool) -> AbstractContextManager[None]:
        if isinstance(self.runner, nn.parallel.DistributedDataParallel) and not is_last:
            return self.runner.no_sync()
        return nullcontext()


class Sharded:
    """DeepSpeed ZeRO: optimizer states (1), gradients (2) and weights (3) split over ranks."""

    def __init__(
        self,
        module: TrainingModule,
        groups: Sequence[ParameterGroup],
        config: TrainingConfig,
        world: World,
        stage: int,
    ) -> None:
        deepspeed = import_deepspeed(next(module.parameters()).device)
        optimizer = make_optimizer(groups, config)
        # Ranks must gather alike; split weights are there in the call of a module alone; and to
        # gradients on the host DeepSpeed adds what a later round brings, but clears them only where
        # the first round has some.
        module.runs_every_head = world.size > 1 or stage == 3 or config.offload != "none"
        self.world, self.peaks = world, [group.learning_rate for group in groups]
        self.rounds, self.stage = config.rounds(world.size), stage
        exact = exact_buffers(module)
        self.engine, self.optimizer, _, _ = deepspeed.initialize(
            model=module, optimizer=optimizer, config=self._settings(config)
        )
        # With bf16 DeepSpeed rounds all of them: rotary frequencies, and statistics of teachers.
        put_back(module, exact)
        self._gathered = deepspeed.zero.GatheredParameters

    def _settings(self, config: TrainingConfig) -> dict[str, Any]:
        scenes = config.scenes_per_step // (self.world.size * self.rounds)
        return {
            "train_micro_batch_size_per_gpu": scenes,
            "gradient_accumulation_steps": self.rounds,
            "gradient_clipping": config.clip,
            "bf16": {"enabled": config.dtype == "bfloat16"},
            "zero_optimization": {"stage": self.stage, **self._offload(config)},
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "steps_per_print": 10**9,
        }

    def _offload(self, config: TrainingConfig) -> dict[str, Any]:
        if config.offload == "none":
            return {}
        return {"offload_optimizer": {"device": "cpu", "pin_memory": torch.cuda.is_available()}}

    def accumulate(self, micro: MicroBatch, totals: Totals, is_last: bool) -> tuple[Tensor, Parts]:
        """DeepSpeed averages over ranks and rounds: scale the share back."""
        loss, parts = self.engine(micro, totals)
        self.engine.backward(loss * (self.world.size * self.rounds))
        if not is_last:
            self.engine.step()
        return loss.detach(), parts

    def update(self, schedule: float) -> float:
        """The engine clips and steps at the last accumulation round."""
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * schedule
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        return 0.0 if norm is None else float(norm)

    def save(self, folder: Path) -> None:
        """Every rank writes its part."""
        self.engine.save_checkpoint(
            str(folder), tag="zero", save_latest=False, exclude_frozen_parameters=True
        )

    def load(self, folder: Path) -> None:
        """Every rank reads its part; it is bound to the world size."""
        path, _ = self.engine.load_checkpoint(str(folder), tag="zero", load_module_strict=False)
        if path is None:
            raise CheckpointError(f"{folder}: no DeepSpeed state in it")

    def weights(self) -> AbstractContextManager[None]:
        """Stage 3 gathers them."""
        if self.stage < 3:
            return nullcontext()
        gathered: AbstractContextManager[None] = self._gathered(
            list(self.engine.module.parameters()), modifier_rank=None
        )
        return gathered


def make_strategy(
    module: TrainingModule, groups: Sequence[ParameterGroup], config: TrainingConfig, world: World
) -> Strategy:
    """The configured strategy, over an already initialised process group if there are several."""
    if config.strategy.startswith("deepspeed"):
        stage = int(config.strategy[-1])
        return Sharded(module, groups, config, world, stage)
    return Replicated(module, groups, config, world)


def import_deepspeed(device: torch.device) -> Any:
    """DeepSpeed with a process group, and without its build of a shared-memory extension.

    On CPU `init_distributed` would compile that extension, and fail where there is no compiler;
    plain gloo does the same work.
    """
    os.environ["DS_ACCELERATOR"] = device.type
    os.environ.setdefault("LOCAL_RANK", str(device.index or 0))
    import deepspeed
    from deepspeed.ops import __compatible_ops__

    if device.type == "cpu":
        __compatible_ops__["deepspeed_shm_comm"] = False
    backend = "gloo" if device.type == "cpu" else "nccl"
    if not distributed.is_initialized():
        # DeepSpeed wants a process group even around a single process.
        distributed.init_process_group(backend, store=_own_store(), rank=0, world_size=1)
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)
    return deepspeed


def _own_store() -> Any:
    """A store that only this process sees; torch exports the class without declaring it."""
    module: Any = distributed
    return module.HashStore()


def autocast(device: torch.device, dtype: str) -> AbstractContextManager[Any]:
    """bfloat16 arithmetic over float32 weights, or nothing."""
    if dtype == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def barrier(world: World) -> None:
    """Wait for every rank."""
    if world.size > 1:
        distributed.barrier()


def total_over_ranks(values: Parts, world: World, device: torch.device) -> Parts:
    """Sum each value over ranks; every rank must have the same names."""
    if world.size == 1:
        return values
    names = sorted(values)
    tensor = torch.tensor([values[name] for name in names], dtype=torch.float64, device=device)
    distributed.all_reduce(tensor)
    return dict(zip(names, tensor.tolist(), strict=True))
