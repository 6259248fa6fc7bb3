"""What a kind of model brings to the training loop, which does not know what it trains, and what all kinds share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from torch_utils.distributed import World
from torch_utils.misc import UserError
from torch_utils.ops.point_network import cpu_has_bf16
from training.data.mirror import LabelMirror
from training.data.reader import PortraitReader
from training.data.storage import Dataset
from training.run.memory import MemoryEstimate

STEP_KEY = 1  # of the draws of the steps
Config = TypeVar("Config")
Sampler = TypeVar("Sampler")


@dataclass(frozen=True)
class Task(Generic[Config, Sampler]):
    """What a run does not change: who computes, what it learns from, and how."""

    config: Config
    world: World
    sampler: Sampler
    bf16: bool

    @property
    def autocast(self) -> torch.autocast:
        """For nets; positions and what is rendered along rays stay in single precision."""
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.bf16)


class Writes(Protocol):
    """What a run leaves behind at every snapshot."""

    def write(self, state: Any, *, in_haste: bool) -> dict[str, float]:
        """Picture, distances (neither of them in haste), state and models; returns the distances."""


class Recipe(Protocol):
    """A run of one kind of model; its state is a :class:`training.run.state.RunState`."""

    @property
    def config_class(self) -> type:
        """Configurations: at least ``generator``, ``optim.batch_size``, ``run`` (:class:`training.config.RunConfig`),
        ``seed`` and ``face_recon``."""

    def estimate(
        self, config: Any, share: int, *, bf16: bool, parameters: tuple[int, int], compiled: bool
    ) -> MemoryEstimate:
        """Memory of a process's step, whose share of the batch this is."""

    def check_memory(self, config: Any, world: World) -> None:
        """UserError where a step cannot fit this machine."""

    def begin(self, config: Any, dataset: Dataset, world: World, *, resuming: bool = False) -> tuple[Any, Any]:
        """What a run does not change, and its state, at the beginning; ``resuming``: a saved state will be loaded."""

    def trial(self, config: Any) -> Any:
        """The same configuration without what takes long before the first step."""

    def describe(self, config: Any, state: Any) -> list[str]:
        """Lines for a person."""

    def train_step(self, task: Any, state: Any) -> dict[str, float]:
        """One update of both sides; returns its losses and gradient norms, means over all processes."""

    def outputs(self, task: Any, dataset: Dataset, outdir: Path, features: Any) -> Writes:
        """Made once, on the process that writes."""


def read_portraits(
    config: Any, dataset: Dataset, world: World, mirror: LabelMirror | None, *, masks: bool = False
) -> PortraitReader:
    """This process's part of the batches that a run learns from; UserError as :class:`PortraitReader` has it."""
    return PortraitReader(
        dataset,
        config.optim.batch_size // world.size,
        seed=config.seed,
        mirror=mirror,
        rank=world.rank,
        world_size=world.size,
        workers=config.run.workers,
        pin_memory=world.device.type == "cuda",
        masks=masks,
    )


def share_of(batch_size: int, world: World) -> int:
    """A process's part of a batch. Raises UserError where processes cannot have equal ones."""
    share, rest = divmod(batch_size, world.size)
    if rest:
        found = f"{batch_size} for {world.size} processes"
        raise UserError(f"--batch_size: expected a multiple of the number of processes, found {found}")
    return share


def set_precision(precision: str, device: torch.device) -> bool:
    """Let matrix products round as ``run.precision`` allows; returns whether autocast to bfloat16 is asked for.

    Raises:
        UserError: bf16 on a GPU that has none.
    """
    on_gpu = device.type == "cuda"
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_has_bf16()
    if precision == "bf16" and on_gpu and not has_bf16:
        raise UserError(f"--precision bf16: expected a GPU with bfloat16, found {torch.cuda.get_device_name(device)}")
    torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    return precision == "bf16" or (precision == "auto" and has_bf16)


def trained(name: str, part: torch.nn.Module) -> str:
    """A line about a network's size."""
    counts = [sum(p.numel() for p in part.parameters() if p.requires_grad or everything) for everything in (0, 1)]
    return f"{name}: {counts[0]:,} parameters trained of {counts[1]:,}"
