"""What inversions have in common: stages of optimisation, their rates, and a bar that shows them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from networks.saved_model import SavedModel
from torch_utils.misc import UserError

RAMP_UP, RAMP_DOWN = 0.05, 0.25  # of a stage: rates rise from 0, and fall to 0 (StyleGAN2's projector)


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How long each stage is; 0 leaves it out."""

    latents: int  # of what people are drawn from
    styles: int  # of what the networks make of it, layer by layer
    weights: int  # of the networks themselves (Roich et al. 2021, pivotal tuning)


class Stage(NamedTuple):
    """What a photo has become after a stage."""

    name: str
    model: SavedModel  # one person's


def rate(step: int, steps: int) -> float:
    """Share of the full learning rate at ``step`` of ``steps``."""
    t = (step + 0.5) / steps
    falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / RAMP_DOWN))
    return falling * min(1.0, t / RAMP_UP)


def descend(
    name: str, groups: Sequence[tuple[float, Sequence[Tensor]]], steps: int, loss: Callable[[int], Tensor]
) -> None:
    """Adam on groups of (learning rate, parameters), which need gradients meanwhile.

    Args:
        name: of the stage, for the bar.
        loss: of a step.

    Raises:
        UserError: the loss is not finite.
    """
    tensors = [tensor.requires_grad_(True) for _, group in groups for tensor in group]
    optimizer = torch.optim.Adam([{"params": list(group), "lr": full} for full, group in groups])
    bar = tqdm(range(steps), name, unit="step", file=sys.stderr, leave=False, mininterval=0.5)
    for step in bar:
        for group, (full, _) in zip(optimizer.param_groups, groups, strict=True):
            group["lr"] = full * rate(step, steps)
        value = loss(step)
        if not torch.isfinite(value):
            raise UserError(f"{name}: the loss is not finite at step {step}: another model, or fewer steps?")
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        bar.set_postfix_str(f"loss {value.item():.3f}", refresh=False)
    for tensor in tensors:
        tensor.requires_grad_(False).grad = None
