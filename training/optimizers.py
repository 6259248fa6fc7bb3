"""Adam for both sides, and the update that ends a phase."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from networks.generator import Generator
from torch_utils.distributed import average_gradients
from training.config import OptimConfig


def generator_optimizer(generator: Generator, config: OptimConfig) -> torch.optim.Adam:
    """Adam over what is trained; phi's linear heads form a group of their own (``head_lr_scale``)."""
    heads = [*generator.radiance.to_sigma.parameters(), *generator.radiance.to_rgb.parameters()]
    is_head = {id(parameter) for parameter in heads}
    others = [p for p in generator.parameters() if p.requires_grad and id(p) not in is_head]
    groups = [{"params": others, "lr": config.g_lr}]
    heads = [p for p in heads if p.requires_grad]
    if heads:
        groups.append({"params": heads, "lr": config.g_lr * config.head_lr_scale})
    return torch.optim.Adam(groups, betas=config.betas)


def discriminator_optimizer(discriminators: nn.Module, config: OptimConfig) -> torch.optim.Adam:
    """One Adam for all discriminators."""
    return torch.optim.Adam(discriminators.parameters(), lr=config.d_lr, betas=config.betas)


def update(optimizer: torch.optim.Optimizer, parts: Iterable[nn.Module], clip_norm: float) -> Tensor:
    """Average the accumulated gradients over the processes, clip those of each part by their norm, and step.

    Returns:
        the largest norm before clipping, NaN or infinity where a gradient is. The step has been taken then, too:
        waiting for the number would stop the device, and such a run ends before it is saved (``check_finite``).
    """
    norms = []
    for part in parts:
        parameters = [p for p in part.parameters() if p.requires_grad]
        average_gradients(parameters)
        norms.append(nn.utils.clip_grad_norm_(parameters, clip_norm))
    norm = torch.stack(norms).max()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
