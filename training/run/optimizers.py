"""Adam for both sides, and the update that ends a phase."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from networks.manifold.generator import Generator
from torch_utils.distributed import average_gradients
from training.config import OptimConfig


def generator_optimizer(generator: Generator, config: OptimConfig) -> torch.optim.Adam:
    """Adam over what is trained; phi's linear heads and D^e have rates of their own (``OptimConfig.*_lr_scale``)."""
    heads = [*generator.radiance.to_sigma.parameters(), *generator.radiance.to_rgb.parameters()]
    expression = [*generator.expression_deformation.parameters()]
    apart = {id(parameter) for parameter in (*heads, *expression)}
    others = [parameter for parameter in generator.parameters() if id(parameter) not in apart]
    scaled = ((others, 1.0), (heads, config.head_lr_scale), (expression, config.expression_lr_scale))
    groups = [{"params": [p for p in part if p.requires_grad], "lr": config.g_lr * scale} for part, scale in scaled]
    return torch.optim.Adam([group for group in groups if group["params"]], betas=config.betas)


def discriminator_optimizer(discriminators: nn.Module, config: OptimConfig) -> torch.optim.Adam:
    """One Adam for all discriminators."""
    return torch.optim.Adam(discriminators.parameters(), lr=config.d_lr, betas=config.betas)


def update(optimizer: torch.optim.Optimizer, parts: Iterable[nn.Module], clip_norm: float) -> Tensor:
    """Average the accumulated gradients over the processes, clip those of each part by their norm, and step.

    Parts of which nothing is trained are passed over: their norm of 0 would lie on the host.

    Returns:
        the largest norm before clipping, NaN or infinity where a gradient is. The step has been taken then, too:
        waiting for the number would stop the device, and such a run ends before it is saved (``check_finite``).
    """
    trained = [[p for p in part.parameters() if p.requires_grad] for part in parts]
    trained = [parameters for parameters in trained if parameters]
    average_gradients(p for parameters in trained for p in parameters)
    norm = torch.stack([nn.utils.clip_grad_norm_(parameters, clip_norm) for parameters in trained]).max()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
