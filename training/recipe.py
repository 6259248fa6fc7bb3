"""What a kind of model brings to the training loop, which does not know what it trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from torch_utils.distributed import World
from training.data.storage import Dataset
from training.run.memory import MemoryEstimate

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
