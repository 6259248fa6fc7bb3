"""Running means of the generator's weights (paper's family: decays 0.999 and 0.9999 a step)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of a module's parameters; buffers are taken as they are.

    Args:
        module: to follow.
        decay: of the mean at every step.
        rampup: the mean reaches back over at most this share of the steps so far (0: no such limit), so that the random
            weights of the beginning are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float, rampup: float):
        self.decay, self.rampup = decay, rampup
        self.average = copy.deepcopy(module).eval().requires_grad_(False)

    def decay_at(self, step: int) -> float:
        """The decay that update number ``step`` (from 1) uses."""
        return min(self.decay, 1 - 1 / (1 + self.rampup * step)) if self.rampup else self.decay

    def share_of_first(self, steps: int) -> float:
        """How much of the mean, after so many updates, is what it began with."""
        return math.prod(self.decay_at(step) for step in range(1, steps + 1))

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the weights of ``module``; ``step`` counts updates from 1."""
        ours, theirs = ([p.detach() for p in part.parameters()] for part in (self.average, module))
        torch._foreach_lerp_(ours, theirs, 1 - self.decay_at(step))
        self.take_buffers(module)

    @torch.no_grad()
    def take_buffers(self, module: nn.Module) -> None:
        """Those of ``module``."""
        for own, given in zip(self.average.buffers(), module.buffers(), strict=True):
            own.copy_(given)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged parameters."""
        return {name: p.detach().clone() for name, p in self.average.named_parameters()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of :meth:`state_dict`; raises KeyError for a missing parameter."""
        for name, parameter in self.average.named_parameters():
            parameter.copy_(state[name])
